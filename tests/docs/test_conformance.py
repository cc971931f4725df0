"""Every rule of the reference has a test that names it or a reason why not, and the page says so."""

from __future__ import annotations

import subprocess
import sys

from tools.conformance import ROOT, Proofs, problems


def test_the_page_is_current_and_every_rule_is_proven() -> None:
    command = [sys.executable, "tools/conformance.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_wrong_with_rules_and_marks_is_named() -> None:
    found = Proofs()
    found.tests["1 a"].add(("tests/test_x.py", "test_x"))
    found.tests["1 d"].add(("tests/test_x.py", "test_x"))
    found.tests["2 z"].add(("tests/test_x.py", "test_x"))
    missing = {"rule": "words", "missing": "everything"}
    assert problems({"1": {"1 a": "words", "1 b": "words", "1 c": missing, "1 d": missing}}, found) == [
        "1 b: no test names it",
        "1 d: has a test by now; it is not missing any more",
        "2 z: there is no such rule",
    ]
