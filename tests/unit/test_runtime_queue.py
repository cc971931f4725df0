"""Unit tests of `fairway.runtime.queue`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fairway.runtime.clock import FakeClock
from fairway.runtime.queue import Pacer, WorkLoop, WorkQueue
from fairway.runtime.retry import Backoff, Patience


def test_items_come_in_order_and_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for item in ("a", "b", "a"):
        queue.add(item)
    assert [queue.take(0), queue.take(0), queue.take(0)] == ["a", "b", None]


def test_an_item_that_is_worked_on_is_not_handed_out_again_before_it_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    assert queue.take(0) is None
    queue.done("a")
    assert queue.take(0) == "a"
    queue.done("a")
    assert queue.take(0) is None
    assert len(queue) == 0


def test_an_item_for_later_comes_at_the_earliest_of_its_moments() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_at("a", 10)
    queue.add_at("a", 5)
    queue.add_at("a", 7)
    assert queue.next_moment() == 5
    assert queue.take(4.9) is None
    assert queue.take(5) == "a"
    queue.done("a")
    assert queue.take(100) is None


def test_an_item_added_now_is_not_run_a_second_time_later() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_at("a", 5)
    queue.add("a")
    queue.add_at("a", 6)
    assert queue.take(0) == "a"
    queue.done("a")
    assert queue.next_moment() is None


def test_a_moment_that_comes_while_the_item_is_worked_on_makes_it_run_again() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add_at("a", 1)
    assert queue.take(2) is None
    queue.done("a")
    assert queue.take(2) == "a"


@pytest.mark.reference("7.4 runner tests")
@pytest.mark.parametrize(
    "rounds, now, expected",
    [
        ([], 100, 0),
        ([(0, 3)], 3, 3),
        ([(0, 3)], 5, 1),
        ([(0, 3)], 6, 0),
        ([(0, 30)], 30, 4),
    ],
    ids=["first at once", "as long as the round", "partly waited", "quiet again", "never longer than the longest"],
)
def test_a_pacer_waits_as_long_as_the_last_round_took(
    rounds: list[tuple[float, float]], now: float, expected: float
) -> None:
    pacer = Pacer(longest=4)
    for started, ended in rounds:
        pacer.finished(started, ended)
    assert pacer.wait(now) == expected


def test_a_pacer_merges_nothing_until_rounds_have_used_up_their_budget_and_again_when_it_is_back() -> None:
    pacer = Pacer(longest=4, shortest=2, budget=2, refill=0.25)
    waits = []
    for start in (0, 2, 4, 6):
        pacer.finished(start, start + 1)
        waits.append(pacer.wait(start + 1))
    assert waits == [0, 0, 0, 2]  # two of the budget, one of what came back meanwhile; then the shortest wait
    pacer.finished(20, 21)
    assert pacer.wait(21) == 0


@asynccontextmanager
async def running(
    handle: Callable[[str], Awaitable[None]], clock: FakeClock, log: asyncio.Queue[str] | None = None
) -> AsyncIterator[WorkLoop[str]]:
    def note(item: str, error: Exception | None, failures: int) -> None:
        assert log is not None, error
        log.put_nowait(f"{item}: {error} ({failures})")

    patience = Patience(Backoff(first=1, jitter=0), clock)
    loop: WorkLoop[str] = WorkLoop(handle, on_error=note, patience=patience, workers=2)
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(30):
            yield loop
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_workers_work_side_by_side_but_never_on_one_item() -> None:
    active, handled = set[str](), list[str]()
    started: asyncio.Queue[str] = asyncio.Queue()
    gate = asyncio.Event()

    async def handle(item: str) -> None:
        assert item not in active
        active.add(item)
        started.put_nowait(item)
        await gate.wait()
        active.discard(item)
        handled.append(item)

    async with running(handle, FakeClock()) as loop:
        loop.add("a")
        loop.add("b")
        assert {await started.get(), await started.get()} == {"a", "b"}
        assert active == {"a", "b"}
        loop.add("a")
        gate.set()
        await loop.quiet()
    assert sorted(handled) == ["a", "a", "b"]


@pytest.mark.reference("6.1 retries")
async def test_a_failure_is_tried_again_after_growing_waits_and_its_end_is_told() -> None:
    clock, failures = FakeClock(), iter(["no luck", "still none"])
    log: asyncio.Queue[str] = asyncio.Queue()

    async def handle(item: str) -> None:
        for failure in failures:
            raise ValueError(failure)

    async with running(handle, clock, log) as loop:
        loop.add("a")
        assert await log.get() == "a: no luck (1)"
        assert await clock.sleeper() == pytest.approx(1)
        clock.advance(1)
        assert await log.get() == "a: still none (2)"
        assert await clock.sleeper() == pytest.approx(2)
        clock.advance(2)
        assert await log.get() == "a: None (2)"


async def test_the_earlier_of_two_later_items_comes_first() -> None:
    clock = FakeClock()
    handled: asyncio.Queue[str] = asyncio.Queue()

    async with running(handled.put, clock) as loop:
        loop.add_later("late", 10)
        loop.add_later("early", 1)
        assert await clock.sleeper() == pytest.approx(1)
        clock.advance(1)
        assert await handled.get() == "early"
        assert await clock.sleeper() == pytest.approx(9)
        clock.advance(9)
        assert await handled.get() == "late"
