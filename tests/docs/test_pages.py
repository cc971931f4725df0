"""The documentation: links lead somewhere, commands exist, examples parse, and what README asks is answered so."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from fairway.cli.main import app, run

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md"), *ROOT.glob("src/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) +(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: ``line`` is where it begins, ``language`` what stands behind the fence."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    language, begin, lines = "", 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            if begin:
                yield Block(language, "\n".join(lines) + "\n", begin)
                begin, lines = 0, []
            else:
                language, begin = line.strip().removeprefix("```"), number
        elif begin:
            lines.append(line)
    assert not begin, f"{page}: the block that begins in line {begin} has no end"


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    found = (re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for _, text in headings(page))
    return set(found)


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(marks), text) for marks, text in _HEADING.findall(prose(page))]


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """The ``fairway …`` lines of shell blocks, as words without the first."""
    for block in blocks(page):
        if block.language not in ("sh", "console"):
            continue
        for offset, line in enumerate(block.text.splitlines(), start=1):
            typed = line.removeprefix("$ ") if block.language == "console" else line
            if typed.startswith("fairway ") and (block.language == "sh" or line != typed):
                yield block.line + offset, words(typed)


def words(line: str) -> list[str]:
    """The arguments of the first command of a line, without pipes, redirections and comments."""
    found = shlex.split(line, comments=True)[1:]
    ends = [index for index, word in enumerate(found) if word in ("|", ">", "&&", ";", "2>")]
    return found[: ends[0]] if ends else found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist_with_their_flags(page: Path) -> None:
    for line, arguments in commands(page):
        try:
            app.parse_args(arguments, print_error=False, exit_on_error=False)
        except Exception as error:
            pytest.fail(f"line {line}: fairway {shlex.join(arguments)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_yaml_blocks_are_objects(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            documents = list(yaml.safe_load_all(block.text))
            assert all(one["apiVersion"] and one["kind"] and one["metadata"]["name"] for one in documents)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_says_what_it_is(page: Path) -> None:
    known = {"sh", "console", "text", "yaml", "python"}
    if page.is_relative_to(ROOT / "docs") or (page.name.startswith("README") and page.parent == ROOT):
        for block in blocks(page):
            # A picture needs no language.
            assert block.language in known or "─" in block.text, f"line {block.line}: {block.language!r}"


def test_a_wrong_command_line_would_be_found() -> None:
    for wrong in (["lab", "upp"], ["trace", "a"], ["up", "--no-such-flag"]):
        with pytest.raises(Exception, match=r"."):
            app.parse_args(wrong, print_error=False, exit_on_error=False)


def test_every_page_is_in_an_index() -> None:
    pages = {page.resolve() for page in (ROOT / "docs").glob("**/*.md")}
    indexes = [ROOT / "docs" / "README.md", ROOT / "docs" / "adr" / "README.md"]
    listed = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links(index)}
    assert pages - listed - {indexes[0]} == set()


def test_decisions_are_numbered_without_gaps() -> None:
    found = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in found]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, page in zip(numbers, found, strict=True):
        text = page.read_text()
        assert text.startswith(f"# {number}. ")
        for part in ("Context.", "Decision.", "Consequences.", "What would make us change it."):
            assert f"\n{part} " in text, f"{page.name} has no {part}"


def test_code_names_decisions_that_exist() -> None:
    for source in ROOT.glob("src/**/*.py"):
        for number in re.findall(r"docs/adr/(\d{4})", source.read_text()):
            assert list((ROOT / "docs" / "adr").glob(f"{number}-*.md")), f"{source}: there is no decision {number}"


def test_the_architecture_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    rows = re.findall(r"^\| (`[a-z`, ]+) \|", (ROOT / "docs/explain/architecture.md").read_text(), re.MULTILINE)
    told = [re.findall(r"`(\w+)`", row) for row in rows]
    assert told == [re.findall(r"fairway\.(\w+)", layer) for layer in layers]
    packages = {one.parent.name for one in (ROOT / "src" / "fairway").glob("*/__init__.py")}
    assert {name for row in told for name in row} == packages


@pytest.mark.parametrize(
    "page", [one for one in PAGES if one.is_relative_to(ROOT / "src")], ids=lambda one: one.parent.name
)
def test_files_that_a_packages_readme_names_are_there(page: Path) -> None:
    places = page.parent, ROOT / "src" / "fairway", ROOT
    for name in re.findall(r"`([\w/]+\.py)`", page.read_text()):
        assert any((place / name).is_file() for place in places), name


def test_the_chinese_readme_has_the_same_structure() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    assert [block[:2] for block in blocks(english)] == [block[:2] for block in blocks(chinese)]
    swapped = {"README.zh-CN.md": "README.md"}
    assert [swapped.get(link, link) for link in links(english)] == links(chinese)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_the_changelog_has_an_unreleased_section() -> None:
    assert "(unreleased)" in headings(ROOT / "CHANGELOG.md")[1][1]


def test_what_the_readme_asks_without_root_is_answered_as_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    asked = [arguments for _, arguments in commands(ROOT / "README.md") if "-f" in arguments]
    shown = [block.text.strip() for block in blocks(ROOT / "README.md") if block.language == "text"]
    assert len(asked) == 1
    assert run(asked[0]) == 1
    assert capsys.readouterr().out.strip().endswith(f"\n{shown[0]}")


@pytest.mark.parametrize("arguments", [
    "trace shell shop/web -f examples/two-nodes.yaml",
    "program node-1 -f examples/two-nodes.yaml",
])  # fmt: skip
def test_the_commands_that_the_example_names_work(
    arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert f"#   fairway {arguments}\n" in (ROOT / "examples" / "two-nodes.yaml").read_text()
    assert run(arguments.split()) == 0
    assert "Service shop/web spec.ports[0]" in capsys.readouterr().out
