"""Several whole runs told as one: what a neighbour on the machine did to one of them is not in the middle one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from fairway.bench.process import Program

Report = dict[str, Any]
T = TypeVar("T")


def in_turns(
    programs: Iterable[Program], times: int, measure: Callable[[Program], Report], each: Sequence[str]
) -> list[Report]:
    """Measure each program so many times; they take turns, so that a slow minute falls on all alike.

    Returns one report for each: `middle` of its runs, with ``repeat``, and of more than one run what ``each`` had
    under these keys.
    """
    wanted = list(programs)
    runs: list[list[Report]] = [[] for _ in wanted]
    for _ in range(times):
        for found, program in zip(runs, wanted, strict=True):
            found.append(measure(program))
    return [
        {
            **middle(one),
            "repeat": times,
            **({"each": [{key: run[key] for key in each} for run in one]} if times > 1 else {}),
        }
        for one in runs
    ]


def middle(runs: Sequence[T]) -> T:
    """Each number the median of theirs, the lower one of two; what is no number is as in the first."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: middle([run[key] for run in runs]) for key in first}  # type: ignore[index,return-value]
    if isinstance(first, int | float) and not isinstance(first, bool):
        return statistics.median_low(runs)  # type: ignore[type-var]
    return first
