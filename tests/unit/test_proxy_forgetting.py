"""Unit tests of `fairway.proxy.forgetting`: the real worker, a table of flows in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fairway.model.view import FrontendKey, NodeSettings
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.flows import Spot
from fairway.proxy.forgetting import Forgetting, Forgotten
from fairway.proxy.receipts import Round, RoundKind
from fairway.runtime.clock import FakeClock
from tests.unit.memory_mode import MemoryFlow, MemoryTracking
from tests.unit.test_proxy_sync import CART, DNS, WAIT, World, key

ONE, TWO = "10.244.1.2", "10.244.1.3"
PLACE = Spot("UDP", "10.96.0.10", 53)


def flow(backend: str, protocol: str = "UDP", address: str = "10.96.0.10") -> MemoryFlow:
    return MemoryFlow(protocol, address, 53, backend, 53)


@dataclass
class Desk:
    """A cache, a table, and who stands between them."""

    table: MemoryTracking = field(default_factory=MemoryTracking)
    cache: Cache = field(default_factory=lambda: Cache(NodeSettings(name="node-a", addresses=("192.168.0.2",))))
    done: asyncio.Queue[Forgotten] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.world = World(cache=self.cache)
        self.forgetting = Forgetting(self.table, self.cache, FakeClock(), lambda gone, _: self.done.put_nowait(gone))

    def round(self, kind: RoundKind = RoundKind.CHANGE, commands: int = 1) -> Batch:
        batch = self.cache.take()
        self.forgetting.acknowledged(Round(kind=kind, at=0.0, seconds=0.0, commands=commands, frontends=1), batch)
        return batch

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.forgetting.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def forgotten(self) -> Forgotten:
        async with asyncio.timeout(WAIT):
            return await self.done.get()


async def test_flows_to_a_backend_that_left_go_and_the_others_stay() -> None:
    stay = [flow(ONE), flow(TWO, address="10.96.0.11"), flow(TWO, "TCP")]
    desk = Desk(MemoryTracking([*stay, flow(TWO)]))
    desk.world.put(DNS, ONE, TWO)
    desk.cache.take()
    desk.world.put(DNS, ONE)
    desk.round()
    async with desk.running():
        assert await desk.forgotten() == {("IPv4", "UDP"): 1}
    assert desk.table.table == stay
    assert desk.table.asked == [PLACE._replace(backend=(TWO, 53))]


@pytest.mark.parametrize("kind", [RoundKind.START, RoundKind.REPAIR])
async def test_when_nobody_knows_what_happened_everything_is_looked_at_and_only_what_is_stale_goes(
    kind: RoundKind,
) -> None:
    desk = Desk(MemoryTracking([flow(ONE), flow(TWO), flow("10.96.0.10")]))
    desk.world.put(DNS, ONE)
    desk.world.put(CART, ONE)
    desk.cache.take()
    desk.round(kind)
    async with desk.running():
        assert await desk.forgotten() == {("IPv4", "UDP"): 2}
    assert desk.table.table == [flow(ONE)]


async def test_a_repair_that_had_nothing_to_do_looks_at_no_flow() -> None:
    desk = Desk()
    desk.world.put(DNS, ONE)
    desk.cache.take()
    desk.round(RoundKind.REPAIR, commands=0)
    desk.world.put(DNS)
    desk.round()
    async with desk.running():
        await desk.forgotten()
    assert desk.table.asked == [PLACE]


async def test_what_fails_is_told_once_and_tried_again_with_the_next_change(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(MemoryTracking([flow(ONE)], broken=True))
    desk.world.put(DNS, ONE)
    desk.cache.take()
    desk.world.put(DNS, TWO)
    desk.round()
    async with desk.running():
        async with asyncio.timeout(WAIT):
            while "stale flows stay until they time out: no connection tracking" not in caplog.text:
                await asyncio.sleep(0)
        desk.table.broken = False
        desk.world.put(DNS, TWO, "10.244.1.4")
        desk.round()
        desk.world.put(CART, ONE)
        desk.round()
        desk.world.put(DNS, TWO)
        desk.round()
        assert await desk.forgotten() == {("IPv4", "UDP"): 1}
    assert desk.table.table == []
    assert caplog.text.count("stale flows stay") == 1


async def test_only_a_change_of_the_same_place_waits_for_its_flows() -> None:
    desk = Desk(MemoryTracking([flow(ONE)], held_up=(held_up := threading.Event())))
    desk.world.put(DNS, ONE)
    desk.cache.take()
    desk.world.put(DNS, TWO)
    desk.round()
    async with desk.running(), asyncio.timeout(WAIT):
        while not desk.forgetting.busy:
            await asyncio.sleep(0)
        await desk.forgetting.settled({key(CART)})
        same = asyncio.ensure_future(desk.forgetting.settled({key(DNS)}))
        port = asyncio.ensure_future(desk.forgetting.settled({FrontendKey("0.0.0.0", "UDP", 53)}))
        await asyncio.sleep(0)
        assert not any(one.done() for one in (same, port))
        held_up.set()
        await asyncio.gather(same, port)
        assert not desk.forgetting.busy
    await desk.forgotten()
