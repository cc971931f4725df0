"""Unit tests of `fairway.proxy.canary`: real connections over loopback, without rules between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind
from fairway.proxy.canary import FAILURES_THAT_COUNT, PATH, SERVICE, Canary, canary_frontend
from fairway.proxy.configuration import configure
from fairway.proxy.flags import Flags
from fairway.proxy.values import Bind
from fairway.proxy.web import WebServer, text
from fairway.runtime.clock import FakeClock


def direct(port: int) -> Frontend:
    """The address of the canary is the server itself."""
    action = Action(kind=ActionKind.FORWARD)
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address="127.0.0.1",
        protocol="TCP",
        port=port,
        service=SERVICE,
        cluster=(Backend(address="127.0.0.1", port=port),),
        pod=action,
        node=action,
        outside=action,
    )


@asynccontextmanager
async def answering(port: int, canary: Canary | None = None) -> AsyncIterator[Bind]:
    page = canary.page if canary else lambda: text("somebody else")
    server = WebServer(Bind("127.0.0.1", port), {PATH: page})
    try:
        yield await server.start()
    finally:
        await server.close()


async def test_it_is_broken_when_it_fails_several_times_after_it_had_arrived() -> None:
    async with answering(0) as at:
        port = at.port
    canary = Canary(direct(port), FakeClock())
    for _ in range(FAILURES_THAT_COUNT):
        await canary.ask()
    assert canary.report() == {"delivered": False, "ageSeconds": 0.0, "problem": "connection refused"}
    assert not canary.broken, "what never worked counts for nothing"
    async with answering(port, canary):
        await canary.ask()
        assert canary.report() == {"delivered": True, "ageSeconds": 0.0}
    for _ in range(FAILURES_THAT_COUNT):
        assert not canary.broken
        await canary.ask()
    assert canary.broken
    assert canary.notes()[0].startswith("the canary at 127.0.0.1:")


async def test_somebody_elses_answer_does_not_count() -> None:
    async with answering(0) as at:
        canary = Canary(direct(at.port), FakeClock())
        await canary.ask()
    assert canary.report()["problem"] == "somebody else answers there"


async def test_it_asks_again_and_again() -> None:
    clock = FakeClock()
    async with answering(0) as at:
        canary = Canary(direct(at.port), clock)
        asking = asyncio.create_task(canary.run())
        await clock.sleeper()
        assert "problem" in canary.report()
        clock.advance(7)
        assert canary.report()["ageSeconds"] == 7.0
        clock.advance(3)
        await clock.sleeper()
        assert canary.report()["ageSeconds"] == 0.0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize(
    "flags, backend",
    [
        (Flags(), "127.0.0.1:10256"),
        (Flags(healthz_bind_address="10.0.0.7:9"), "10.0.0.7:9"),
        (Flags(canary_address=""), None),
        (Flags(healthz_bind_address=""), None),
        (Flags(healthz_bind_address="127.0.0.1:0"), None),
        (Flags(healthz_bind_address="[::]:10256"), None),
    ],
)
def test_it_leads_to_the_health_server_if_there_is_one(flags: Flags, backend: str | None) -> None:
    frontend = canary_frontend(configure(flags, "node-1"))
    assert (str(frontend.cluster[0]) if frontend else None) == backend
