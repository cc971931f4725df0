"""Work that nobody waits for, a little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fairway.runtime.clock import SystemClock
from fairway.runtime.spare import LITTLE, SpareTime


class Steps:
    """A clock that moves while steps are done: each takes so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._time = seconds, 7.0
        self.done: list[str] = []

    def now(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")

    def of(self, name: str, count: int) -> Iterator[None]:
        for number in range(count):
            self._time += self._seconds
            self.done.append(f"{name}{number}")
            yield


async def test_what_takes_a_moment_is_done_at_once() -> None:
    steps = Steps(LITTLE / 10)
    SpareTime(steps).add(steps.of("a", 5))
    assert steps.done == ["a0", "a1", "a2", "a3", "a4"]


async def test_of_what_takes_longer_a_little_is_done_in_each_turn_of_the_loop() -> None:
    steps = Steps(LITTLE * 0.6)
    spare = SpareTime(steps)
    spare.add(steps.of("a", 5))
    assert steps.done == ["a0", "a1"]
    await asyncio.sleep(0)
    assert steps.done == ["a0", "a1", "a2", "a3"]
    await asyncio.sleep(0)
    assert len(steps.done) == 5


async def test_what_comes_later_has_a_moment_of_its_own_and_then_waits_for_its_turn() -> None:
    steps = Steps(LITTLE * 2)
    spare = SpareTime(steps)
    spare.add(steps.of("a", 3))
    spare.add(steps.of("b", 2))
    assert steps.done == ["a0", "b0"]
    for _ in range(5):
        await asyncio.sleep(0)
    assert steps.done == ["a0", "b0", "a1", "a2", "b1"]


async def test_what_is_not_done_when_it_is_closed_stays_undone() -> None:
    steps = Steps(LITTLE * 2)
    spare = SpareTime(steps)
    spare.add(steps.of("a", 3))
    spare.close()
    await asyncio.sleep(0)
    assert steps.done == ["a0"]


async def test_all_is_done_by_the_machines_clock_too() -> None:
    spare, done = SpareTime(SystemClock()), asyncio.Event()

    def work() -> Iterator[None]:
        yield from (None for _ in range(20_000))
        done.set()

    spare.add(work())
    async with asyncio.timeout(60):
        await done.wait()
