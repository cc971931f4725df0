"""The page of kube-proxy's quirks names proofs that exist."""

from __future__ import annotations

import re

from fairway.conform.scenario import scenarios
from tools.docs import ROOT

PAGE = (ROOT / "docs" / "reference" / "quirks.md").read_text()


def test_every_scenario_it_names_is_there() -> None:
    cells = [line.split("|")[3] for line in PAGE.splitlines() if line.startswith("| ")]
    named = {name for cell in cells if "scenario" in cell for name in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert len(named) > 7
    assert named <= {one.name for one in scenarios()}


def test_every_test_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 7
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"def (test_\w+)\(", path.read_text()))
    assert named <= found


def test_no_quirk_is_without_a_decision() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    assert all(len(row) == 5 and row[1].strip() and row[2].strip() for row in rows)
