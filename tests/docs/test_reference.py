"""The reference pages say what the program says: help, metrics, kinds and reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.cli.main import app
from tools.docs import CLI, REFERENCE, ROOT, command_lines, pages

RENEW = "`make docs` writes it again"
_ROW = re.compile(r"^\| `([^`]+)` \| (answer|deliver|drop|reject|pass) \|", re.MULTILINE)


@pytest.mark.parametrize("path, text", list(pages()), ids=[path.name for path, _ in pages()])
def test_generated_pages_are_as_the_program_is(path: Path, text: str) -> None:
    assert path.read_text() == text, f"{path.name} is old; {RENEW}"


def test_every_command_has_a_heading() -> None:
    headings = set(re.findall(r"^#+ fairway (.*)$", CLI.read_text(), re.MULTILINE))
    assert headings == {" ".join(words) for words in command_lines(app)}


def test_every_command_says_what_it_does() -> None:
    begins = r"^#+ fairway (.*)\n\n(?:```text\n.*\n```\n\n)?[A-Z](?!xample:)"
    assert set(re.findall(begins, CLI.read_text(), re.MULTILINE)) == {" ".join(words) for words in command_lines(app)}


def test_every_flag_has_a_description() -> None:
    bare = re.findall(r"^\* `[^`]+`:? *(?:\*.*)?$", CLI.read_text(), re.MULTILINE)
    assert bare == []


def test_every_reason_is_explained() -> None:
    listed = {words for words, _ in _ROW.findall((REFERENCE / "outcomes.md").read_text())}
    assert listed == set(reasons())


def reasons() -> Iterator[str]:
    """Every text that the model gives as a reason, read from its source; a part that varies is called POLICY."""
    for name in ("resolve.py", "policies.py", "decide.py"):
        tree = ast.parse((ROOT / "src" / "fairway" / "model" / name).read_text())
        for node in ast.walk(tree):
            match node:
                case (
                    ast.keyword(arg="because", value=value)
                    | ast.Call(func=ast.Attribute(value=ast.Name(id="forward"), attr="to"), args=[*_, value])
                ):
                    yield from words(value)
                case ast.Assign(targets=[ast.Name(id="because" | "policy")], value=value):
                    yield from words(value)


def words(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*words(one), *words(other))
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "POLICY" for part in parts)
