"""What two sequences begin and end with in common, found without a step of Python's own for each item.

old   a b c d e
new   a b x d e      Ends(2, 2): what differs is c, and x
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import compress, count
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Ends(NamedTuple):
    """How many items both begin with, and how many of the others both end with."""

    first: int
    last: int

    def between(self, items: Sequence[T]) -> Sequence[T]:
        """What of one of the two sequences is at neither end."""
        return items[self.first : len(items) - self.last]


def common_ends(old: Sequence[T], new: Sequence[T], differ: Callable[[T, T], bool] = operator.ne) -> Ends:
    """The most at the beginning, and then the most at the end; ``differ`` says of two items that they do."""
    most = min(len(old), len(new))
    first = next(compress(count(), map(differ, old, new)), most)
    # reversed() of a subclass of tuple, such as a `Part`, takes seven times as long as a copy
    backwards = map(differ, old[::-1], new[::-1])
    return Ends(first, next(compress(range(most - first), backwards), most - first))
