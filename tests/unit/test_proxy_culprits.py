"""Unit tests of `fairway.proxy.culprits`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fairway.proxy.culprits import culprits


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 50}, set(range(100))])
def test_each_one_that_is_refused_by_itself_is_found(bad: set[int]) -> None:
    found = culprits(range(100), lambda part: f"not {min(bad & set(part))}" if bad & set(part) else "")
    assert found == {one: f"not {one}" for one in bad}


def test_few_culprits_take_few_questions() -> None:
    asked: list[int] = []

    def refuse(part: Sequence[int]) -> str:
        asked.append(len(part))
        return "no" if 700 in part else ""

    assert culprits(range(1024), refuse) == {700: "no"}
    assert len(asked) == 21


def test_what_is_only_too_much_together_has_no_culprit() -> None:
    assert culprits(range(8), lambda part: "too many" if len(part) > 4 else "") == {}
