"""Unit tests of `fairway.controllers.election`: one leads, the others stand by, and what ends a lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.controllers.election import Candidate, Election, ElectionError, Rival
from fairway.objects.codec import view
from fairway.objects.lease import Lease
from fairway.objects.resources import LEASES
from fairway.runtime.clock import FakeClock
from tests.unit.controllers_world import Door, settle


class Stander:
    """A candidate in a task of its own; ``working`` says whether it does the work now."""

    def __init__(self, app: Any, identity: str, clock: FakeClock) -> None:
        self.door = Door(app)
        self.working = False
        self.terms = 0
        election = Election(identity=identity)
        self._candidate = Candidate(Client(AsgiTransport(self.door)), election, clock)
        self.task = asyncio.create_task(self._candidate.run(self._work))

    async def _work(self) -> None:
        self.working = True
        self.terms += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


class Hall:
    """Where candidates stand."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.clock = FakeClock()
        self.client = Client(AsgiTransport(app))
        self.standers: list[Stander] = []

    async def stand(self, identity: str) -> Stander:
        made = Stander(self.app, identity, self.clock)
        self.standers.append(made)
        await settle()
        return made

    async def pass_seconds(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            await settle()

    async def lease(self) -> Lease:
        return await self.client.get(LEASES, "fairway-controllers", "kube-system")


@asynccontextmanager
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    made = Hall(await create_app(MemoryStorage(), Settings(data_directory=tmp_path, storage="memory")))
    try:
        yield made
    finally:
        for stander in made.standers:
            await stander.stop()


async def test_the_first_leads_and_the_second_stands_by(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:
        first, second = await it.stand("a"), await it.stand("b")
        await it.pass_seconds(60)
        assert (first.working, second.working) == (True, False)
        assert first.terms == 1
        spec = (await it.lease()).spec
        assert (spec.holder_identity, spec.lease_duration_seconds, spec.lease_transitions) == ("a", 15, 0)


async def test_a_killed_leader_is_replaced_within_the_lease_and_one_retry(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:
        first, second = await it.stand("a"), await it.stand("b")
        await it.pass_seconds(5)
        first.door.shut()
        await first.stop()
        await it.pass_seconds(12)
        assert not second.working
        await it.pass_seconds(15 + 2 - 12)
        assert second.working
        spec = (await it.lease()).spec
        assert (spec.holder_identity, spec.lease_transitions) == ("b", 1)


async def test_a_leader_that_cannot_renew_stops_before_another_starts(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:
        first, second = await it.stand("a"), await it.stand("b")
        await it.pass_seconds(3)
        first.door.shut()
        for _ in range(80):
            await it.pass_seconds(0.25)
            assert not (first.working and second.working)
        assert (first.working, second.working) == (False, True)
        first.door.reopen()
        await it.pass_seconds(10)
        assert (first.working, second.working) == (False, True)


async def test_a_leader_whose_lease_somebody_takes_stops_at_its_next_look(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:
        first = await it.stand("a")
        spec = {"holderIdentity": "usurper", "leaseDurationSeconds": 15}
        await it.client.patch(LEASES, "fairway-controllers", {"spec": spec}, "kube-system")
        await it.pass_seconds(2)
        assert not first.working
        # Its lease ends, for nobody renews it.
        await it.pass_seconds(17)
        assert first.working
        assert first.terms == 2


async def test_a_leader_that_ends_gives_the_lease_back(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:
        first, second = await it.stand("a"), await it.stand("b")
        await first.stop()
        assert (await it.lease()).spec.holder_identity == ""
        await it.pass_seconds(2)
        assert second.working


async def test_a_leader_whose_renewals_hang_stops_at_the_deadline(tmp_path: Path) -> None:
    never = asyncio.Event()
    async with hall(tmp_path) as it:
        hanging = False

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if hanging:
                await never.wait()
            await it.app(scope, receive, send)

        stander = Stander(app, "a", it.clock)
        it.standers.append(stander)
        await settle()
        assert stander.working
        hanging = True
        await it.pass_seconds(9.5)
        assert stander.working
        await it.pass_seconds(0.5)
        assert not stander.working
        never.set()


async def test_what_the_work_raises_ends_the_election(tmp_path: Path) -> None:
    async with hall(tmp_path) as it:

        async def work() -> None:
            raise RuntimeError("broken")

        candidate = Candidate(it.client, Election(identity="a"), it.clock)
        with pytest.raises(RuntimeError, match="broken"):
            await candidate.run(work)


@pytest.mark.parametrize(
    "durations, message",
    [
        ({"lease": 10, "renew_deadline": 10}, "must be longer than the renew deadline"),
        ({"renew_deadline": 2, "retry": 2}, "must be longer than the retry period"),
        ({"retry": 0}, "must be longer than 0"),
    ],
)
def test_durations_that_cannot_work_are_refused(durations: dict[str, Any], message: str) -> None:
    with pytest.raises(ElectionError, match=message):
        Election(identity="a", **durations)


def test_a_rival_is_judged_by_our_own_clock() -> None:
    def lease(renewed: str) -> Lease:
        spec = {"holderIdentity": "b", "leaseDurationSeconds": 15, "renewTime": renewed}
        return view({"metadata": {"name": "x"}, "spec": spec}, Lease)

    rival = Rival()
    # Its clock is a year behind: that does not make it late.
    assert rival.wait(lease("2025-01-01T00:00:00.000000Z"), 100.0) == 15.0
    assert rival.wait(lease("2025-01-01T00:00:00.000000Z"), 110.0) == 5.0
    assert rival.wait(lease("2025-01-01T00:00:02.000000Z"), 112.0) == 15.0
    assert rival.wait(lease("2025-01-01T00:00:02.000000Z"), 127.0) == 0.0
