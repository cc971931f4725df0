"""Which test proves which rule of the reference: ``make docs`` writes docs/reference/api-conformance.md.

The rules lie in tests/reference-rules.yaml; tests name them with ``@pytest.mark.reference``. Run with ``--check`` to
compare instead of writing.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
RULES = ROOT / "tests" / "reference-rules.yaml"
PAGE = ROOT / "docs" / "reference" / "api-conformance.md"
_MARK = "mark.reference("
_INTRODUCTION = """# Conformance of the API

What Kubernetes 1.36 does with Services, rule by rule, and the tests that prove that Fairway does it too. `make docs`
writes this page from the tests; a rule without a test says what is missing. What is different on purpose stands in the
[API page](api.md#how-it-differs) and in the [decisions](../adr/README.md).
"""


@dataclass
class Proofs:
    """A pytest plugin: the tests of each rule, as ``path`` and ``name[case]``; and what is wrong with the marks."""

    tests: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    problems: list[str] = field(default_factory=list)

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


def proofs() -> Proofs:
    """Collect the tests that name rules, without running any."""
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if _MARK in path.read_text())
    found = Proofs()
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", *map(str, files)]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(arguments, plugins=[found])
    if code != pytest.ExitCode.OK:
        sys.exit(f"the tests cannot be collected:\n{output.getvalue()}")
    return found


def page(sections: dict[str, dict[str, Any]], found: Proofs) -> str:
    lines = [_INTRODUCTION]
    for section, rules in sections.items():
        lines += [f"## {section}\n", "| rule | | proven by |", "|---|---|---|"]
        for name, rule in rules.items():
            words = rule if isinstance(rule, str) else rule["rule"]
            proven = "<br>".join(_link(*test) for test in sorted(found.tests.get(name, ())))
            if not proven and not isinstance(rule, str):
                proven = f"*{rule['missing']}*"
            lines.append(f"| {name.partition(' ')[2]} | {words} | {proven} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _link(path: str, name: str) -> str:
    shown = name.replace("|", "\\|")
    return f"[`{shown}`](../../{path})"


def problems(sections: dict[str, dict[str, Any]], found: Proofs) -> list[str]:
    """Rules without a test or a reason, rules with both, marks of rules that there are not."""
    rules = {name: rule for section in sections.values() for name, rule in section.items()}
    wrong = list(found.problems)
    for name, rule in rules.items():
        stated = not isinstance(rule, str)
        if stated and name in found.tests:
            wrong.append(f"{name}: has a test by now; it is not missing any more")
        if not stated and name not in found.tests:
            wrong.append(f"{name}: no test names it")
    return wrong + [f"{name}: no such rule in {RULES.name}" for name in sorted(set(found.tests) - set(rules))]


def main() -> None:
    sections = yaml.safe_load(RULES.read_text())
    found = proofs()
    wrong = problems(sections, found)
    text = page(sections, found)
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            wrong.append(f"{PAGE.relative_to(ROOT)} is old; `make docs` writes it again")
    else:
        PAGE.write_text(text)
        print(f"written: {PAGE.relative_to(ROOT)}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
