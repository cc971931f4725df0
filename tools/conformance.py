"""Which test proves which rule of the reference: ``make docs`` writes the conformance pages in docs/reference.

The rules of the API and its controllers lie in tests/reference-rules.yaml, those of the packets' way in
tests/datapath-rules.yaml. Tests name the rules they prove with ``@pytest.mark.reference``, scenarios in their
scenario.yaml. Run with ``--check`` to compare instead of writing.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from fairway.conform.scenario import Scenario

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
API, API_RULES = REFERENCE / "api-conformance.md", ROOT / "tests" / "reference-rules.yaml"
DATAPATH, DATAPATH_RULES = REFERENCE / "conformance.md", ROOT / "tests" / "datapath-rules.yaml"
_MARK = "mark.reference("
_API_INTRODUCTION = """# Conformance of the API

What Kubernetes 1.36 does with Services, rule by rule, and the tests that prove that Fairway does it too. `make docs`
writes this page from the tests; a rule without a test says what is missing. What is different on purpose stands in the
[API page](api.md#how-it-differs) and in the [decisions](../adr/README.md).
"""
_DATAPATH_INTRODUCTION = """# Conformance of the packets' way

What the tests of Kubernetes 1.36 assert about its proxies, row by row under their own names, and what proves that
Fairway does it too: a *scenario*, which is a folder of objects and packets, or a test. The model (`decide`), each mode
(`evaluate`) and a kernel with real packets answer every scenario alike; `make test` plays them all, and so does, on any
machine,

```sh
sudo fairway conform --mode nftables
```

`passed` stands for a mode that is held to the scenarios of the row; `by test` where the same code serves every mode, or
a test of its own proves the row. `make docs` writes this page from the scenarios and the tests; a row without a proof
says why.
"""

Sections = dict[str, dict[str, Any]]


@dataclass
class Proofs:
    """A pytest plugin: the tests of each rule, as ``path`` and ``name[case]``; and what is wrong with the marks."""

    tests: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    problems: list[str] = field(default_factory=list)
    scenarios: dict[str, list[Scenario]] = field(default_factory=lambda: defaultdict(list))
    played: tuple[Scenario, ...] = ()
    modes: tuple[str, ...] = ()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        unused: set[tuple[str, str]] = set()
        used: set[tuple[str, str]] = set()
        for item in items:
            function = item.nodeid.partition("[")[0]
            case = item.nodeid[len(function) :].strip("[]")
            for mark in item.iter_markers("reference"):
                cases = mark.kwargs.get("cases")
                unused |= {(function, one) for one in cases or ()}
                if cases is None or case in cases:
                    used.add((function, case))
                    path, _, name = function.rpartition("::")
                    shown = name if cases is None else f"{name}[{case}]"
                    for rule in mark.args:
                        self.tests[rule].add((path, shown))
        self.problems += [f"{function} has no case {case!r}" for function, case in sorted(unused - used)]

    @property
    def proven(self) -> set[str]:
        return set(self.tests) | set(self.scenarios)


def proofs() -> Proofs:
    """Collect the tests and scenarios that name rules, without running any."""
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if _MARK in path.read_text())
    found = Proofs()
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", *map(str, files)]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(arguments, plugins=[found])
    if code != pytest.ExitCode.OK:
        sys.exit(f"the tests cannot be collected:\n{output.getvalue()}")
    _add_scenarios(found)
    return found


def _add_scenarios(found: Proofs) -> None:
    # Imported now: pytest has to come first to what it loads as a plugin.
    from fairway.conform.scenario import scenarios
    from fairway.modes.registry import MODES

    found.played, found.modes = scenarios(), tuple(MODES)
    for scenario in found.played:
        for rule in scenario.description.proves:
            found.scenarios[rule].append(scenario)


def api_page(sections: Sections, found: Proofs) -> str:
    lines = [_API_INTRODUCTION]
    for section, rules in sections.items():
        lines += [f"## {section}\n", "| rule | | proven by |", "|---|---|---|"]
        lines += [f"| {_name(key)} | {_words(rule)} | {_proven(key, rule, found)} |" for key, rule in rules.items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def datapath_page(sections: Sections, found: Proofs) -> str:
    modes, rulers = " | ".join(found.modes), "---|" * len(found.modes)
    lines = [_DATAPATH_INTRODUCTION]
    for section, rules in sections.items():
        lines += [f"## {section}\n", f"| row | asserts | proven by | {modes} |", f"|---|---|---|{rulers}"]
        for key, rule in rules.items():
            cells = [_name(key), _words(rule), _proven(key, rule, found), *_of_modes(key, found)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## The scenarios\n", f"| scenario | asserts | packets | {modes} |", f"|---|---|---|{rulers}"]
    lines += [_of_scenario(one, found.modes) for one in found.played]
    return "\n".join(lines).rstrip() + "\n"


def _name(key: str) -> str:
    return key.partition(" ")[2].replace("|", "\\|")


def _words(rule: str | Mapping[str, str]) -> str:
    return rule if isinstance(rule, str) else rule["rule"]


def _proven(key: str, rule: str | Mapping[str, str], found: Proofs) -> str:
    links = [_link(_folder(one), one.name) for one in found.scenarios.get(key, ())]
    links += [_link(*test) for test in sorted(found.tests.get(key, ()))]
    return "<br>".join(links) or ("" if isinstance(rule, str) else f"*{rule['missing']}*")


def _of_modes(key: str, found: Proofs) -> Iterator[str]:
    """How each mode stands to a row."""
    played = found.scenarios.get(key, [])
    for mode in found.modes:
        excuses = {reason for one in played if (reason := one.not_applicable(mode))}
        held = [one for one in played if not one.not_applicable(mode)]
        yield "passed" if held else _excused(excuses) or ("by test" if key in found.tests else "")


def _of_scenario(one: Scenario, modes: Iterable[str]) -> str:
    count = sum(len(step.expectations) for step in one.steps)
    states = [_excused({reason}) if (reason := one.not_applicable(mode)) else "passed" for mode in modes]
    return f"| {_link(_folder(one), one.name)} | {one.description.asserts} | {count} | {' | '.join(states)} |"


def _excused(reasons: set[str]) -> str:
    return f"not applicable: {'; '.join(sorted(reasons))}" if reasons else ""


def _folder(scenario: Scenario) -> str:
    return scenario.folder.relative_to(ROOT).as_posix()


def _link(path: str, name: str) -> str:
    shown = name.replace("|", "\\|")
    return f"[`{shown}`](../../{path})"


def problems(sections: Sections, found: Proofs) -> list[str]:
    """Rules without a proof or a reason, rules with both, marks of rules that there are not."""
    rules = {name: rule for section in sections.values() for name, rule in section.items()}
    wrong = list(found.problems)
    for name, rule in rules.items():
        stated = not isinstance(rule, str)
        if stated and name in found.proven:
            wrong.append(f"{name}: has a test by now; it is not missing any more")
        if not stated and name not in found.proven:
            wrong.append(f"{name}: no test names it")
    return wrong + [f"{name}: there is no such rule" for name in sorted(found.proven - set(rules))]


def main() -> None:
    api, datapath = yaml.safe_load(API_RULES.read_text()), yaml.safe_load(DATAPATH_RULES.read_text())
    found = proofs()
    wrong = problems({**api, **datapath}, found)
    for path, text in ((API, api_page(api, found)), (DATAPATH, datapath_page(datapath, found))):
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
            print(f"written: {path.relative_to(ROOT)}")
        elif not path.exists() or path.read_text() != text:
            wrong.append(f"{path.relative_to(ROOT)} is old; `make docs` writes it again")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
