"""Unit tests of `fairway.runtime.garbage`."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from fairway.runtime.clock import FakeClock
from fairway.runtime.garbage import keep, look_after, look_when_quiet

MANY = 1500
"""Enough young containers to be worth a look."""


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _own_collector() -> Iterator[None]:
    """The collector is the whole process's: it looks only when it is asked to here, and is given back as it was."""
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


@asynccontextmanager
async def looking(happened: Callable[[], int]) -> AsyncIterator[FakeClock]:
    clock = FakeClock()
    task = asyncio.create_task(look_when_quiet(happened, clock))
    try:
        yield clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _round(clock: FakeClock) -> None:
    """What comes after the waiting that goes on now, until it waits again."""
    clock.advance(await clock.sleeper())
    await clock.sleeper()


def _ring() -> weakref.ref[Ring]:
    return weakref.ref(Ring())


async def test_garbage_is_found_in_a_quiet_moment() -> None:
    async with looking(lambda: 0) as clock:
        young, lost = [[number] for number in range(MANY)], _ring()
        await _round(clock)
        assert lost() is not None
        await _round(clock)
        assert lost() is None
    assert len(young) == MANY


async def test_nothing_is_looked_for_while_things_happen() -> None:
    async with looking(itertools.count().__next__) as clock:
        young, lost = [[number] for number in range(MANY)], _ring()
        for _ in range(6):
            await _round(clock)
        assert lost() is not None
    assert len(young) == MANY


async def test_few_young_ones_are_not_worth_a_look() -> None:
    async with looking(lambda: 0) as clock:
        lost = _ring()
        for _ in range(6):
            await _round(clock)
        assert lost() is not None


async def test_what_became_garbage_after_it_was_looked_at_is_found_some_day() -> None:
    async with looking(lambda: 0) as clock:
        ring: Ring | None = Ring()
        kept: list[list[list[int]]] = []
        lost = weakref.ref(ring)
        rounds = 0
        while lost() is not None:
            kept.append([[number] for number in range(MANY)])
            await _round(clock)
            await _round(clock)
            ring, rounds = None, rounds + 1
    assert rounds == 500, "the first look found it alive, and it is looked at again only with everything"


def test_what_was_loaded_is_not_looked_at_again() -> None:
    ring = Ring()
    lost = weakref.ref(ring)
    keep()
    assert gc.isenabled()
    del ring
    gc.collect()
    assert lost() is not None
    gc.unfreeze()
    gc.collect()
    assert lost() is None


async def test_a_load_that_does_not_come_leaves_garbage_to_python() -> None:
    clock, loaded = FakeClock(), asyncio.Event()
    task = asyncio.create_task(look_after(loaded, lambda: 0, clock))
    clock.advance(await clock.sleeper() - 1.0)
    assert not gc.isenabled()
    clock.advance(1.0)
    async with asyncio.timeout(30):
        while not gc.isenabled():
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_after_the_load_quiet_moments_are_waited_for_at_once() -> None:
    clock, loaded = FakeClock(), asyncio.Event()
    task = asyncio.create_task(look_after(loaded, lambda: 0, clock))
    assert await clock.sleeper() > 10.0
    loaded.set()
    async with asyncio.timeout(30):
        while await clock.sleeper() > 10.0:
            await asyncio.sleep(0)
    clock.advance(100.0)
    assert not gc.isenabled()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
