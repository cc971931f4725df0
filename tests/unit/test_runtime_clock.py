"""Unit tests of `fairway.runtime.clock`."""

from __future__ import annotations

import asyncio

import pytest

from fairway.runtime.clock import FakeClock, SystemClock, parse_rfc3339, rfc3339


def test_a_time_is_written_and_read_as_kubernetes_does() -> None:
    assert rfc3339(1_767_323_045.9) == "2026-01-02T03:04:05Z"
    assert parse_rfc3339("2026-01-02T03:04:05Z") == 1_767_323_045
    assert parse_rfc3339("2026-01-02T04:04:05+01:00") == 1_767_323_045


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02T03:04:05"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|without a zone"):
        parse_rfc3339(text)


def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > parse_rfc3339("2026-01-01T00:00:00Z")


async def test_a_fake_clock_wakes_sleepers_in_order_and_not_before_their_time() -> None:
    clock, woken = FakeClock(), list[str]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("late", 2))
        group.create_task(sleep("early", 1))
        assert await clock.sleeper() == pytest.approx(1)
        clock.advance(0.5)
        await clock.sleep(0)
        assert woken == []
        assert await clock.sleeper() == pytest.approx(0.5)
        clock.advance(5)
    assert woken == ["early", "late"]


def test_two_fake_clocks_do_not_start_together() -> None:
    assert FakeClock().monotonic() != FakeClock().monotonic()
    clock = FakeClock()
    assert clock.now() != clock.monotonic()
