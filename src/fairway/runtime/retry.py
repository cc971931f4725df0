"""How long to wait before trying again: twice as long each time, with some chance in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fairway.runtime.clock import Clock, SystemClock

Item = TypeVar("Item", bound=Hashable)
Draw = Callable[[], float]
"""A number from 0 up to but not including 1, such as ``random.random`` gives."""


@dataclass(frozen=True)
class Backoff:
    """Exponential waiting times in seconds.

    ``jitter`` is the share of a waiting time that chance may take away, so that many who failed together do not come
    back together.
    """

    first: float = 0.05
    most: float = 10.0
    factor: float = 2.0
    jitter: float = 0.5

    def delay(self, failures: int, drawn: float) -> float:
        """Seconds to wait after so many failures in a row (1 is the first); ``drawn`` is from [0, 1)."""
        # The exponent is bounded first: 2.0**1024 does not fit a float.
        whole = min(self.most, self.first * self.factor ** min(failures - 1, 64))
        return whole * (1.0 - self.jitter * drawn)


@dataclass(frozen=True)
class Patience:
    """How to wait between attempts: for how long, by which clock, with which chance."""

    backoff: Backoff = Backoff()
    clock: Clock = field(default_factory=SystemClock)
    draw: Draw = random.random

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self.backoff.delay(failures, self.draw())

    async def wait(self, failures: int) -> None:
        """Wait as long as so many failures in a row ask for."""
        await self.clock.sleep(self.delay(failures))


class Retries(Generic[Item]):
    """Failures in a row, counted for each item."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures: dict[Item, int] = {}

    def failed(self, item: Item) -> tuple[float, int]:
        """Note a failure; returns the seconds to wait before the next attempt, and the failures in a row."""
        self._failures[item] = failures = self._failures.get(item, 0) + 1
        return self._patience.delay(failures), failures

    def succeeded(self, item: Item) -> int:
        """Forget the failures of an item; returns how many in a row there were."""
        return self._failures.pop(item, 0)
