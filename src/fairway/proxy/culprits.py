"""Which of many things a judge refuses, in few questions: halves of halves, as long as a part is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def culprits(things: Sequence[T], refuse: Callable[[Sequence[T]], str]) -> dict[T, str]:
    """Each thing that is refused by itself, with the reason; empty when only all of them together are too much.

    ``refuse`` says why it does not want those things, or nothing. A few culprits among n things take a few times
    log2(n) questions.
    """
    if not things or not (why := refuse(things)):
        return {}
    if len(things) == 1:
        return {things[0]: why}
    middle = len(things) // 2
    return culprits(things[:middle], refuse) | culprits(things[middle:], refuse)
