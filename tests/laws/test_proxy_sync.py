"""Laws of the proxy's loop: after any events the kernel holds what a proxy that starts afresh would want.

The kernel is the machine in memory, which refuses what the real one refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.contract import ApplyFailed
from fairway.kernel.fake import FakeNftables
from fairway.kernel.nfnetlink import KernelRefused
from fairway.model.decide import decide
from fairway.model.view import FrontendKey
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.listeners import Listener
from fairway.proxy.receipts import Receipt, Round
from fairway.proxy.sync import Sync
from fairway.runtime.clock import FakeClock
from fairway.runtime.retry import Backoff, Patience
from tests.laws.strategies import packets
from tests.laws.test_proxy_cache import FIRST, Event, Objects, events, happen

MODE = NftablesMode()
WAIT = 30.0


class Memory:
    """The machine in memory, as the loop sees a kernel; and a table of flows that is always empty."""

    at_once = 2000
    busy = False

    def __init__(self) -> None:
        self.machine = FakeNftables()

    def read_back(self) -> Program:
        return replace(MODE.empty(), base=self.machine.read())

    def apply(self, plan: Plan) -> None:
        try:
            self.machine.apply(plan)
        except KernelRefused as refused:
            raise ApplyFailed(str(refused)) from refused

    def check(self, plan: Plan) -> None:
        raise AssertionError("asked only after a refusal, and there is none here")

    def acknowledged(self, done: Round, batch: Batch) -> None:
        """There are no flows."""

    async def settled(self, changing: Collection[FrontendKey]) -> None:
        """Nobody waits for flows that there are not."""


class Rounds(Listener):
    """Lets the test wait for a round; a refusal is a broken law."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[Round | ApplyFailed] = asyncio.Queue()

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        self.done.put_nowait(done)

    def failed(self, kind: object, error: ApplyFailed) -> None:
        self.done.put_nowait(error)

    async def one(self) -> None:
        async with asyncio.timeout(WAIT):
            done = await self.done.get()
        assert isinstance(done, Round), done


async def follow(rounds: Sequence[Sequence[Event]]) -> tuple[Memory, Program, Objects]:
    """Let a proxy follow some rounds of events; what its kernel holds in the end, and what it should."""
    memory, cache, objects, ear, clock = Memory(), Cache(FIRST), Objects(FIRST), Rounds(), FakeClock()
    sync = Sync(MODE, memory, cache, memory, clock=clock, listeners=(ear,), patience=Patience(Backoff(), clock))
    task = asyncio.create_task(sync.run())
    await ear.one()
    for number, some in enumerate(rounds):
        for event in some:
            happen(cache, objects, event)
        if cache.dirty:
            if number % 2:
                sync.note()
                sync.follow_now()
            else:
                sync.changed()
            await ear.one()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return memory, sync.program, objects


@given(rounds=st.lists(events(), max_size=4), data=st.data())
def test_after_any_events_the_kernel_holds_what_the_objects_ask_for(
    rounds: Sequence[Sequence[Event]], data: st.DataObject
) -> None:
    memory, program, objects = asyncio.run(follow(rounds))
    assert not MODE.plan(memory.read_back(), program)
    view = objects.view()
    for packet in data.draw(st.lists(packets(view), max_size=8)):
        assert MODE.evaluate(program, packet).outcome.essence == decide(view, packet).essence


@pytest.mark.reference("7.2 TestSyncProxyRulesStartup")
@given(rounds=st.lists(events(), max_size=4))
def test_a_proxy_that_starts_afresh_moves_nothing_that_clients_can_notice(rounds: Sequence[Sequence[Event]]) -> None:
    memory, program, objects = asyncio.run(follow(rounds))
    fresh = MODE.program(objects.view())
    assert program.fragments.keys() == fresh.fragments.keys()
    for key, fragment in fresh.fragments.items():
        kept = program.fragments[key]
        assert kept.elements == fragment.elements
        assert {slots.first: set(slots) for slots in kept.slots} == {
            slots.first: set(slots) for slots in fragment.slots
        }
    memory.apply(MODE.plan(memory.read_back(), fresh))
    assert not MODE.plan(memory.read_back(), fresh)
