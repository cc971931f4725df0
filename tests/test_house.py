"""The habits of the house, kept by machine: sizes, names, places and who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
LONGEST_FILE = 450  # lines; about 400 is what we aim at
LONGEST_FUNCTION = 70  # lines: it fits on a screen
FORBIDDEN_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "base"}
IN_THE_ROOT = {
    ".ci",
    ".dockerignore",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "README.zh.md",
    "README.zh-CN.md",
    "SECURITY.md",
    "benchmarks",
    "deploy",
    "docs",
    "examples",
    "pyproject.toml",
    "requirements.lock",
    "src",
    "tests",
    "tools",
}
# Built in two halves, or this file would find itself.
UNFINISHED = re.compile("|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X")))
# Somebody's machine: a home (but for the invented one of "me"), a checkout. The system's own places are everybody's.
PRIVATE_PATH = re.compile(r"(?<![\w.}/-])/(?:home(?!/me\b)|root|Users|wo" + r"rk|mnt|opt)/[\w.-]")
# Not written here: OpenAPI schemas are Kubernetes' own words.
NOT_OURS = ("src/fairway/apiserver/schemas/", "LICENSE", "requirements.lock")


def _tracked() -> list[Path]:
    """Every file that is or would be committed, as git knows it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in found if path.is_file()]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


TRACKED = _tracked()
MODULES = [path for path in TRACKED if path.suffix == ".py"]
PARSED = {path: ast.parse(path.read_text(), _name(path)) for path in MODULES}


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_no_source_file_is_too_long() -> None:
    lengths = {_name(path): path.read_text().count("\n") for path in MODULES if path.is_relative_to(SOURCE)}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_every_function_fits_on_a_screen() -> None:
    lengths = {
        f"{_name(path)}:{one.lineno} {one.name}": _length(one) for path in PARSED for one in _functions(PARSED[path])
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its lines without the docstring, which is there to be read, not to be followed."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    said = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - said


def test_every_module_opens_with_a_sentence() -> None:
    silent = [_name(path) for path, tree in PARSED.items() if path.read_text().strip() and not ast.get_docstring(tree)]
    assert silent == []


def test_no_name_says_nothing() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & FORBIDDEN_NAMES == set()
    classes = [node.name for tree in PARSED.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if re.search(r"(Manager|Helper|Utils?)$", name)] == []


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    found: list[str] = []
    for path in TRACKED:
        if _name(path).startswith(NOT_OURS):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture, a compressed file
        if pattern.search(text):
            lines = enumerate(text.splitlines(), start=1)
            found += [f"{_name(path)}:{number}: {line.strip()}" for number, line in lines if pattern.search(line)]
    return found


def test_nothing_is_left_for_later() -> None:
    assert _lines_with(UNFINISHED) == []


def test_no_file_knows_somebodys_machine() -> None:
    assert _lines_with(PRIVATE_PATH) == []


@pytest.mark.parametrize("line", ["open('/ho" + "me/alice/x')", "see /wo" + "rk/notes", "`/ro" + "ot/x`"])
def test_a_private_path_would_be_found(line: str) -> None:
    assert PRIVATE_PATH.search(line)


@pytest.mark.parametrize(
    "line",
    ["/etc/passwd", "/run/netns/x", "10.0.0.0/8", "/ho" + "me/me/x", "a/ho" + "me/x", "https://x.example/wo" + "rk/x"],
)
def test_a_public_path_is_nobodys_machine(line: str) -> None:
    assert not PRIVATE_PATH.search(line)


def test_the_root_holds_what_it_should() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in TRACKED} - IN_THE_ROOT == set()


def test_no_program_file_has_spaces_or_capitals_in_its_name() -> None:
    assert [_name(path) for path in MODULES if not re.fullmatch(r"[a-z0-9_/]+\.py", _name(path))] == []


def _module_names() -> set[str]:
    """``model_resolve`` of src/fairway/model/resolve.py, ``modes_nftables`` of a package, as tests are named."""
    paths = [path.relative_to(SOURCE / "fairway").with_suffix("") for path in MODULES if path.is_relative_to(SOURCE)]
    return {"_".join(part for part in path.parts if part != "__init__") for path in paths}


def test_every_unit_test_is_named_after_a_module() -> None:
    modules = _module_names()
    tests = [path.stem.removeprefix("test_") for path in (ROOT / "tests" / "unit").glob("test_*.py")]
    assert tests
    assert [name for name in sorted(tests) if name not in modules] == []


def test_every_test_file_has_a_test() -> None:
    files = [path for path in MODULES if path.name.startswith("test_") and "tests" in path.relative_to(ROOT).parts]
    assert [_name(path) for path in files if not _has_tests(PARSED[path])] == []


def _has_tests(tree: ast.Module) -> bool:
    """A function, or what Hypothesis makes of a state machine: ``TestAllocation = Allocation.TestCase``."""
    functions = [one.name for one in _functions(tree)]
    made = [
        target.id
        for one in tree.body
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    ]
    return any(name.startswith("test_") for name in functions) or any(name.startswith("Test") for name in made)


def test_no_test_sleeps_or_mocks() -> None:
    """Waiting hides races, and a mock of our own code proves the mock."""
    found: list[str] = []
    for path, tree in PARSED.items():
        if not path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(tree):
            imported = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[:2] == ["unittest", "mock"] for name in imported):
                found.append(f"{_name(path)}:{getattr(node, 'lineno', 0)} unittest.mock")
            if isinstance(node, ast.Attribute) and node.attr == "sleep" and not _sleeps_for_nothing(tree, node):
                found.append(f"{_name(path)}:{node.lineno} sleep")
    assert found == []


def _sleeps_for_nothing(tree: ast.Module, attribute: ast.Attribute) -> bool:
    """``sleep(0)`` gives the event loop one turn, ``clock.sleep`` belongs to a clock that the test moves."""
    if isinstance(attribute.value, ast.Name) and attribute.value.id not in ("asyncio", "time"):
        return True
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func is attribute)
    return any(len(c.args) == 1 and isinstance(c.args[0], ast.Constant) and c.args[0].value == 0 for c in calls)


def test_versions_are_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (SOURCE / "fairway" / "__init__.py").read_text()
    assert f'"{project["version"]}"' in text


def test_who_may_import_whom() -> None:
    """In a process of its own: import-linter looks at what is installed, and keeps a cache in the current directory."""
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout
