"""Unit tests of `fairway.apiserver.expiry`: Events that nobody has added to for an hour go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairway.apiserver.expiry import expire_events, expire_once, last_told
from fairway.runtime.clock import FakeClock, parse_rfc3339, rfc3339
from tests.unit.api_calls import Calls, start
from tests.unit.controllers_world import settle

EVENTS = "/api/v1/namespaces/default/events"


def event(name: str, **times: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    return {"metadata": {"name": name}, "involvedObject": about, "reason": "R", **times}


async def names(api: Calls) -> list[str]:
    return [one["metadata"]["name"] for one in (await api("GET", EVENTS)).json["items"]]


async def test_only_events_that_nothing_was_added_to_go() -> None:
    api = await start()
    made = (await api("POST", EVENTS, event("old"))).json
    created = parse_rfc3339(made["metadata"]["creationTimestamp"])
    await api("POST", EVENTS, event("counted", lastTimestamp=rfc3339(created + 1800)))
    registry = api.app.registry
    assert await expire_once(registry, created - 1) == 0
    assert await expire_once(registry, created + 900) == 1
    assert await names(api) == ["counted"]


async def test_it_looks_again_and_again() -> None:
    api, clock = await start(), FakeClock()
    await api("POST", EVENTS, event("old", lastTimestamp=rfc3339(clock.now())))
    made = (await api("GET", f"{EVENTS}/old")).json
    ahead = max(0.0, last_told(made) - clock.now())
    task = asyncio.create_task(expire_events(api.app.registry, clock, 120.0))
    await settle()
    clock.advance(60)
    await settle()
    assert await names(api) == ["old"]
    clock.advance(121 + ahead)
    await settle()
    assert await names(api) == []
    task.cancel()


@pytest.mark.parametrize(
    "times, expected",
    [
        ({"lastTimestamp": "2026-01-02T03:04:05Z"}, "2026-01-02T03:04:05Z"),
        ({"eventTime": "2026-01-02T03:04:05.000000Z", "lastTimestamp": None}, "2026-01-02T03:04:05Z"),
        ({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:05.000000Z"}}, "2026-01-02T03:04:05Z"),
        ({"lastTimestamp": "yesterday"}, "2025-01-01T00:00:00Z"),
    ],
)
def test_the_latest_of_an_events_times_counts(times: dict[str, Any], expected: str) -> None:
    made = {"metadata": {"creationTimestamp": "2025-01-01T00:00:00Z"}, **times}
    assert last_told(made) == parse_rfc3339(expected)
