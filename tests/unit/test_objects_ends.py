"""What two sequences begin and end with in common."""

from __future__ import annotations

import operator

import pytest

from fairway.objects.ends import Ends, common_ends


@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        ("abcde", "abxde", Ends(2, 2)),
        ("abc", "abc", Ends(3, 0)),
        ("abc", "ac", Ends(1, 1)),
        ("ac", "abc", Ends(1, 1)),
        ("aaa", "aa", Ends(2, 0)),
        ("abc", "cba", Ends(0, 0)),
        ("", "ab", Ends(0, 0)),
    ],
)
def test_what_is_at_neither_end_is_different(old: str, new: str, ends: Ends) -> None:
    assert common_ends(old, new) == ends
    assert old[: ends.first] + "".join(ends.between(new)) + old[len(old) - ends.last :] == new


def test_who_calls_says_what_differs() -> None:
    one, other = [[1], [2], [3]], [[1], [2], [3]]
    assert common_ends(one, other) == Ends(3, 0)
    assert common_ends(one, [one[0], *other[1:]], operator.is_not) == Ends(1, 0)
