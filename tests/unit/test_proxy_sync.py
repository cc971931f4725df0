"""Unit tests of `fairway.proxy.sync`: the real loop, a clock that the tests move, a kernel in memory."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fairway.kernel.contract import ApplyFailed
from fairway.model.problems import Problem
from fairway.model.view import FrontendKey, NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointPort, EndpointSlice
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Batch, Cache, Cause
from fairway.proxy.health import Health
from fairway.proxy.listeners import Audience, Listener
from fairway.proxy.receipts import Receipt, Round, RoundKind
from fairway.proxy.sync import Sync
from fairway.runtime.clock import FakeClock
from fairway.runtime.retry import Backoff, Patience
from tests.unit.memory_mode import Fragment, MemoryKernel, MemoryMode, Plan, Program

WAIT = 30.0


@dataclass
class Ear(Listener):
    """Hears what happens, and lets a test wait for it."""

    rounds: asyncio.Queue[tuple[Round, Sequence[Receipt]]] = field(default_factory=asyncio.Queue)
    failures: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    returns: asyncio.Queue[RoundKind] = field(default_factory=asyncio.Queue)
    wrong: asyncio.Queue[tuple[str, Problem]] = field(default_factory=asyncio.Queue)

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        self.rounds.put_nowait((done, receipts))

    def returned(self, done: Round) -> None:
        self.returns.put_nowait(done.kind)

    def noticed(self, reason: str, problem: Problem) -> None:
        self.wrong.put_nowait((reason, problem))

    def failed(self, kind: RoundKind, error: ApplyFailed) -> None:
        self.failures.put_nowait(str(error))


@dataclass
class Gate:
    """Who forgets flows, as the loop knows it: while it is not open, no frontend may change."""

    told: list[tuple[RoundKind, set[FrontendKey], set[FrontendKey]]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    held: Mapping[FrontendKey, Fragment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.open.set()

    @property
    def busy(self) -> bool:
        return not self.open.is_set()

    def acknowledged(self, done: Round, batch: Batch) -> None:
        self.told.append((done.kind, set(batch.before), set(self.held)))

    async def settled(self, changing: Collection[FrontendKey]) -> None:
        if not self.open.is_set():
            self.asked.set()
        await self.open.wait()


@dataclass
class World:
    """One proxy's middle."""

    kernel: MemoryKernel = field(default_factory=MemoryKernel)
    flows: Gate = field(default_factory=lambda: Gate())
    clock: FakeClock = field(default_factory=FakeClock)
    cache: Cache = field(default_factory=lambda: Cache(NodeSettings(name="node-a")))
    ear: Ear = field(default_factory=Ear)
    mode: MemoryMode = field(default_factory=MemoryMode)

    def __post_init__(self) -> None:
        self.flows.held = self.kernel.held
        patience = Patience(Backoff(first=1.0, jitter=0.0), self.clock)
        self.sync: Sync[Program, Fragment, Plan] = Sync(
            self.mode,
            self.kernel,
            self.cache,
            self.flows,
            clock=self.clock,
            listeners=(self.ear,),
            patience=patience,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Round]:
        """The loop runs; yields its first round."""
        task = asyncio.create_task(self.sync.run())
        try:
            yield (await self.round())[0]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def round(self) -> tuple[Round, Sequence[Receipt]]:
        async with asyncio.timeout(WAIT):
            return await self.ear.rounds.get()

    async def complaint(self) -> tuple[str, Problem]:
        async with asyncio.timeout(WAIT):
            return await self.ear.wrong.get()

    async def failure(self) -> str:
        async with asyncio.timeout(WAIT):
            return await self.ear.failures.get()

    def put(self, service: Service, *backends: str) -> None:
        seen = self.clock.monotonic()
        key = Key(service.key.namespace, f"{service.key.name}-1")
        one = EndpointSlice(
            metadata=ObjectMeta(
                namespace=key.namespace,
                name=key.name,
                resource_version="8",
                labels={"kubernetes.io/service-name": service.key.name},
            ),
            endpoints=tuple(Endpoint(addresses=(address,)) for address in backends),
            ports=(
                EndpointPort(name="", port=53, protocol=service.spec.ports[0].protocol if service.spec.ports else ""),
            ),
        )
        self.cache.put_service(service.key, service, Cause("Service", service.key, "7", seen))
        self.cache.put_slice(key, one, Cause("EndpointSlice", key, "8", seen))
        self.sync.changed()


def service(name: str, address: str, protocol: str = "TCP") -> Service:
    return Service(
        metadata=ObjectMeta(namespace="shop", name=name),
        spec=ServiceSpec(cluster_ip=address, ports=(ServicePort(port=53, protocol=protocol),)),
    )


CART = service("cart", "10.96.0.7")
DNS = service("dns", "10.96.0.10", "UDP")


def key(one: Service) -> FrontendKey:
    return FrontendKey(one.spec.cluster_ip, (one.spec.ports or ())[0].protocol, 53)


@pytest.mark.reference("7.2 TestSyncProxyRulesStartup")
async def test_the_start_applies_the_difference_to_what_the_kernel_holds() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    stale = key(service("old", "10.96.0.99"))
    async with world.running():
        first = dict(world.kernel.held)
    again = World(kernel=MemoryKernel(held={**first, stale: first[key(CART)]}))
    again.put(CART, "10.244.1.2")
    async with again.running() as done:
        assert done.kind is RoundKind.START
        assert again.kernel.applied == [Plan({stale: None})]
        assert again.sync.is_ready


@pytest.mark.reference("7.2 TestSyncProxyRulesRepeated")
async def test_a_change_touches_only_itself_and_does_not_read_the_kernel_back() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        world.put(DNS, "10.244.1.3")
        done, receipts = await world.round()
        assert done.kind is RoundKind.CHANGE
        assert {one.address for one in world.kernel.applied[-1].changes} == {"10.96.0.10"}
        assert world.kernel.read_backs == 1
        assert [(one.kind, one.resource_version, one.commands) for one in receipts] == [
            ("Service", "7", 2),
            ("EndpointSlice", "8", 2),
        ]


@pytest.mark.reference("7.4 runner tests")
async def test_changes_that_come_together_go_out_together() -> None:
    world = World()
    async with world.running():
        for number in range(5):
            world.put(service(f"s{number}", f"10.96.1.{number}"))
        done, receipts = await world.round()
        assert done.frontends == 10
        assert len(receipts) == 10


async def test_an_event_without_consequences_gets_its_receipt_and_no_command() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        world.put(CART, "10.244.1.2")
        done, receipts = await world.round()
        assert done.commands == 0
        assert len(receipts) == 2
        assert len(world.kernel.applied) == 1


async def test_what_somebody_else_removed_is_put_back_and_the_log_says_who(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        wanted = dict(world.kernel.held)
        del world.kernel.held[key(CART)]
        world.sync.kernel_changed("nft (pid 123)")
        done, _ = await world.round()
        assert done.kind is RoundKind.REPAIR
        assert done.by == "nft (pid 123)"
        assert done.commands == 1
        assert world.kernel.held == wanted
        world.put(CART, "10.244.1.3")
        done, _ = await world.round()
        assert (done.kind, done.by) == (RoundKind.CHANGE, "")
        assert "changed by nft (pid 123): put back with 1 commands" in caplog.text


async def test_somebody_elses_change_of_something_else_is_looked_at_and_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="fairway")  # what an operator reads; whoever asks for more gets more
    world = World()
    async with world.running():
        world.sync.kernel_changed("firewalld (pid 7)")
        done, _ = await world.round()
        assert (done.kind, done.commands) == (RoundKind.REPAIR, 0)
        assert "firewalld" not in caplog.text


@pytest.mark.reference("7.4 runner tests")
async def test_a_refused_change_keeps_the_old_state_is_told_once_and_comes_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    async with world.running():
        caplog.set_level(logging.INFO)
        # The change, then the whole, then each of the two frontends by itself.
        world.kernel.refusals = ["add element: ENOMEM"] * 4
        world.put(CART, "10.244.1.2")
        assert await world.failure() == "add element: ENOMEM"
        assert world.kernel.held == {}
        for _ in range(2):
            world.clock.advance(await world.clock.sleeper())
        done, receipts = await world.round()
        assert done.kind is RoundKind.REPAIR
        assert world.kernel.held == world.sync.program
        assert min(one.seconds for one in receipts) >= 2.9
    assert caplog.text.count("the kernel keeps its old state") == 1
    assert "follows again, after 2 failures" in caplog.text


@pytest.mark.reference("7.4 TestNewNodeManager, TestNodeManagerOnNodeChange")
async def test_a_change_of_the_node_compares_the_whole() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        world.cache.put_settings(NodeSettings(name="node-a", zone="east"))
        world.sync.changed()
        done, _ = await world.round()
        assert done.kind is RoundKind.NODE
        assert {zone for _, zone in world.kernel.held.values()} == {"east"}


async def test_flows_are_told_of_each_round_after_the_kernel_has_it() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        (told,) = world.flows.told
        assert told == (RoundKind.START, {key(CART), FrontendKey("10.96.0.7", "", 0)}, set(world.kernel.held))


async def test_a_frontend_whose_flows_are_being_forgotten_waits() -> None:
    world = World()
    async with world.running():
        world.flows.open.clear()
        world.put(DNS, "10.244.1.2")
        async with asyncio.timeout(WAIT):
            await world.flows.asked.wait()
        assert world.kernel.held == {}
        world.flows.open.set()
        await world.round()
        assert key(DNS) in world.kernel.held


async def test_what_the_mode_cannot_do_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    sctp = service("signal", "10.96.0.20", "SCTP")
    world.put(sctp, "10.244.1.2")
    async with world.running():
        assert (await world.complaint())[0] == "NotSupported"
        world.put(sctp, "10.244.1.3")
        await world.round()
        assert len(world.sync.problems()) == 1
        assert world.ear.wrong.empty()
    assert caplog.text.count("shop/signal: SCTP is not for this memory") == 1


async def test_a_frontend_that_the_kernel_refuses_holds_up_no_other_service(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        before = world.kernel.held[key(CART)]
        world.kernel.refuses = {key(CART)}
        world.put(CART, "10.244.1.3")
        world.put(DNS, "10.244.1.3")
        await world.failure()
        world.clock.advance(await world.clock.sleeper())
        await world.round()
        assert world.kernel.held[key(CART)] == before
        assert world.kernel.held[key(DNS)] == world.sync.program[key(DNS)]
        assert world.sync.refused == {key(CART): "set 10.96.0.7:53/TCP: EINVAL"}
        assert "10.96.0.7:53/TCP of shop/cart stays as it was until it changes" in caplog.text
        world.put(DNS, "10.244.1.4")
        assert (await world.round())[0].kind is RoundKind.CHANGE


async def test_a_frontend_that_is_refused_at_the_start_is_left_out_of_everything_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.kernel.refuses = {key(CART)}
    world.put(CART, "10.244.1.2")
    world.put(DNS, "10.244.1.3")
    async with world.running():
        assert key(DNS) in world.kernel.held
        assert key(CART) not in world.kernel.held
        assert world.sync.refused == {key(CART): "set 10.96.0.7:53/TCP: EINVAL"}
    assert "10.96.0.7:53/TCP of shop/cart is left out until it changes" in caplog.text


async def test_a_frontend_that_cannot_be_compiled_is_left_out_and_holds_up_nobody() -> None:
    world = World(mode=MemoryMode(lacking=[key(CART)]))
    world.put(CART, "10.244.1.2")
    world.put(DNS, "10.244.1.3")
    async with world.running():
        assert (key(CART) in world.kernel.held, key(DNS) in world.kernel.held) == (False, True)
        assert world.sync.refused == {key(CART): "no room for 10.96.0.7:53/TCP"}
        world.mode.lacking = ()
        world.put(CART, "10.244.1.4")
        await world.round()
        assert world.sync.refused == {}
        before = world.kernel.held[key(CART)]
        world.mode.lacking = [key(CART)]
        world.put(CART, "10.244.1.5")
        world.put(DNS, "10.244.1.5")
        assert (await world.round())[0].kind is RoundKind.CHANGE
        assert world.kernel.held[key(CART)] == before
        assert world.kernel.held[key(DNS)] == world.sync.program[key(DNS)]
        assert world.sync.refused == {key(CART): "no room for 10.96.0.7:53/TCP"}


async def test_what_somebody_else_does_while_the_whole_is_applied_is_looked_at_afterwards() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    loop, read = asyncio.get_running_loop(), threading.Event()

    def interfere() -> None:
        world.sync.kernel_changed("nft (pid 7)")
        read.set()

    class Slow(MemoryKernel):
        """Somebody writes between what it reads and what it is told."""

        def apply(self, plan: Plan) -> None:
            if not read.is_set():
                loop.call_soon_threadsafe(interfere)
                assert read.wait(WAIT)
            super().apply(plan)

    world.kernel = Slow()
    world.__post_init__()
    async with world.running() as first:
        assert first.kind is RoundKind.START
        assert (await world.round())[0].kind is RoundKind.REPAIR


@dataclass
class SlowKernel(MemoryKernel):
    """Takes its time for every Plan: until it is let go."""

    at_once: int = 0
    begun: asyncio.Queue[threading.Event] = field(default_factory=asyncio.Queue)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def apply(self, plan: Plan) -> None:
        go_on = threading.Event()
        self.loop.call_soon_threadsafe(self.begun.put_nowait, go_on)
        assert go_on.wait(WAIT)
        super().apply(plan)

    async def at_work(self) -> threading.Event:
        """Wait until it is; set what this returns to let it go on."""
        async with asyncio.timeout(WAIT):
            return await self.begun.get()


async def test_what_changes_while_a_slow_kernel_is_at_work_goes_out_together_afterwards() -> None:
    kernel = SlowKernel()
    world = World(kernel=kernel)
    world.put(CART, "10.244.1.2")
    loop = asyncio.create_task(world.sync.run())
    (await kernel.at_work()).set()
    await world.round()
    world.put(CART, "10.244.1.3")
    busy = await kernel.at_work()
    world.put(CART, "10.244.1.4")
    world.put(CART, "10.244.1.5")
    world.put(DNS, "10.244.1.9")
    assert kernel.held[key(CART)][0].cluster[0].address == "10.244.1.2"
    busy.set()
    first, for_one = await world.round()
    (await kernel.at_work()).set()
    second, for_the_others = await world.round()
    assert [(one.kind, one.frontends, one.commands) for one in (first, second)] == [
        (RoundKind.CHANGE, 1, 1),
        (RoundKind.CHANGE, 3, 3),
    ]
    assert ([one.kind for one in for_one], len(for_the_others)) == (["Service", "EndpointSlice"], 6)
    assert [{one.address for one in plan.changes} for plan in kernel.applied[1:]] == [
        {"10.96.0.7"},
        {"10.96.0.7", "10.96.0.10"},
    ]
    assert kernel.held[key(CART)][0].cluster[0].address == "10.244.1.5"
    assert kernel.read_backs == 1
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_slow_kernel_that_refuses_a_change_is_read_back() -> None:
    kernel = SlowKernel()
    world = World(kernel=kernel)
    loop = asyncio.create_task(world.sync.run())
    await world.round()
    kernel.refusals = ["no room"]
    world.put(CART, "10.244.1.3")
    (await kernel.at_work()).set()
    assert await world.failure() == "no room"
    world.clock.advance(await world.clock.sleeper())
    (await kernel.at_work()).set()
    assert (await world.round())[0].kind is RoundKind.REPAIR
    assert key(CART) in kernel.held
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_refused_frontend_is_offered_again_when_it_changes_and_not_before() -> None:
    world = World()
    world.kernel.refuses = {key(CART)}
    async with world.running():
        world.put(CART, "10.244.1.2")
        world.put(DNS, "10.244.1.3")
        await world.failure()
        world.clock.advance(await world.clock.sleeper())
        await world.round()
        assert key(CART) in world.sync.refused
        world.cache.put_settings(NodeSettings(name="node-a", zone="east", masquerade_all=True))
        world.sync.changed()
        assert (await world.round())[0].kind is RoundKind.NODE
        assert key(CART) not in world.kernel.held
        world.kernel.refuses = set()
        world.put(CART, "10.244.1.9")
        await world.round()
        assert world.kernel.held[key(CART)][0].cluster[0].address == "10.244.1.9"
        assert world.sync.refused == {}


class Worn(FakeClock):
    """Each look at it takes it on by some microseconds."""

    def monotonic(self) -> float:
        self.advance(0.00002)
        return super().monotonic()


async def test_what_is_wrong_with_a_great_first_load_is_looked_for_in_parts_beside_the_changes_that_follow() -> None:
    world = World(clock=Worn())
    for number in range(400):
        world.put(service(f"odd-{number}", f"10.97.{number // 250}.{number % 250 + 1}", "ODD"))
    async with world.running():
        assert world.ear.wrong.empty()
        await world.complaint()
        assert world.ear.wrong.qsize() < 60
        world.put(CART, "10.244.1.2")
        assert (await world.round())[0].kind is RoundKind.CHANGE
        told = [await world.complaint() for _ in range(399)]
        assert {reason for reason, _ in told} == {"NotServed"}
    assert len(world.sync.problems()) == 400


async def test_what_is_wrong_is_told_while_there_is_one_change_after_the_other() -> None:
    world = World(clock=Worn())
    loop = asyncio.get_running_loop()
    for number in range(300):
        world.put(service(f"odd-{number}", f"10.97.{number // 250}.{number % 250 + 1}", "ODD"))
    async with world.running():
        wrong, changes, until = 0, 0, loop.time() + WAIT
        while wrong < 301:
            changes += 1
            world.put(CART, f"10.244.{changes // 250 % 250}.{changes % 250 + 1}")
            if changes == 20:
                world.put(service("late", "10.96.9.9", "ODD"))
            await world.round()
            while not world.ear.wrong.empty():
                world.ear.wrong.get_nowait()
                wrong += 1
            assert loop.time() < until
        assert changes > 20


async def test_each_service_is_told_of_a_change_that_the_kernel_never_takes_and_no_more_when_it_does() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    world.put(DNS, "10.244.1.2")
    async with world.running():
        world.kernel.refuses = {key(CART), key(DNS)}
        world.put(CART, "10.244.1.3")
        world.put(DNS, "10.244.1.3")
        for _ in range(4):
            await world.failure()
            world.clock.advance(await world.clock.sleeper())
        told = {await world.complaint(), await world.complaint()}
        assert {(reason, problem.service, problem.message) for reason, problem in told} == {
            ("KernelRefused", one.key, f"the kernel refused {key(one)}: set {key(one)}: EINVAL; trying again")
            for one in (CART, DNS)
        }
        assert world.sync.problems().keys() == {CART.key, DNS.key}
        assert world.sync.refused == {}
        await world.failure()
        world.kernel.refuses = set()
        world.clock.advance(await world.clock.sleeper())
        await world.round()
        assert world.sync.problems() == {}
        assert world.ear.wrong.empty()


async def test_when_the_kernel_takes_nothing_at_the_start_each_service_is_told() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    world.kernel.refusals = ["no table: ENOMEM"]
    loop = asyncio.create_task(world.sync.run())
    assert await world.failure() == "no table: ENOMEM"
    told = [await world.complaint() for _ in range(2)]
    assert [(one.service, one.message) for _, one in told] == [
        (CART.key, f"the kernel refused {at}: no table: ENOMEM; trying again")
        for at in (key(CART), "10.96.0.7 (other ports)")
    ]
    world.clock.advance(await world.clock.sleeper())
    await world.round()
    assert world.sync.problems() == {}
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_service_that_is_left_out_is_told_why_once_and_again_when_it_comes_back_to_that() -> None:
    world = World()
    world.kernel.refuses = {key(CART)}
    world.put(CART, "10.244.1.2")
    world.put(DNS, "10.244.1.3")
    async with world.running():
        reason, problem = await world.complaint()
        assert (reason, problem.service) == ("KernelRefused", CART.key)
        world.put(DNS, "10.244.1.4")
        await world.round()
        assert list(world.sync.problems()) == [CART.key]
        assert world.ear.wrong.empty()
        world.kernel.refuses = set()
        world.put(CART, "10.244.1.4")
        await world.round()
        assert world.sync.problems() == {}
        world.kernel.refuses = {key(CART)}
        world.put(CART, "10.244.1.5")
        world.put(DNS, "10.244.1.5")
        await world.failure()
        world.clock.advance(await world.clock.sleeper())
        await world.round()
        assert (await world.complaint())[1].service == CART.key


async def test_only_when_another_thread_was_at_the_kernel_is_it_asked_for_what_was_kept_back() -> None:
    world = World()
    world.put(CART, "10.244.1.2")
    async with world.running():
        assert [await world.ear.returns.get()] == [RoundKind.START]
        world.put(CART, "10.244.1.3")
        await world.round()
        assert world.ear.returns.empty()
        world.sync.kernel_changed("nft (pid 9)")
        await world.round()
        assert [await world.ear.returns.get()] == [RoundKind.REPAIR]
        world.kernel.at_once = 0
        world.put(CART, "10.244.1.4")
        await world.round()
        assert [await world.ear.returns.get()] == [RoundKind.CHANGE]


async def test_a_small_change_is_followed_in_the_turn_in_which_all_of_it_was_told() -> None:
    world = World()
    async with world.running():
        world.put(CART, "10.244.1.2")
        world.put(DNS, "10.244.1.2")
        world.sync.follow_now()
        assert {key(CART), key(DNS)} <= world.kernel.held.keys()
        done, receipts = world.ear.rounds.get_nowait()
        assert (done.kind, len(receipts)) == (RoundKind.CHANGE, 4)
        world.sync.follow_now()
        world.put(CART, "10.244.1.3")
        assert (await world.round())[0].frontends == 1
        assert len(world.sync.rounds) == 3
        assert world.kernel.read_backs == 1


async def test_what_is_noted_while_another_thread_is_at_the_kernel_is_followed_afterwards() -> None:
    kernel = SlowKernel()
    world = World(kernel=kernel)
    loop = asyncio.create_task(world.sync.run())
    await world.round()
    world.put(CART, "10.244.1.3")
    busy = await kernel.at_work()
    gone = Cause("Service", CART.key, "9", world.clock.monotonic())
    world.cache.put_service(CART.key, None, gone)
    world.sync.note()
    world.sync.follow_now()
    busy.set()
    await world.round()
    (await kernel.at_work()).set()
    assert [one.resource_version for one in (await world.round())[1]] == ["9"]
    assert kernel.held == {}
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_change_that_came_while_another_was_on_its_way_is_not_taken_for_done_with_it() -> None:
    kernel = SlowKernel()
    world = World(kernel=kernel)
    health = Health(world.clock, lambda path, code: None, patience=60.0)
    world.sync.tell(health)
    loop = asyncio.create_task(world.sync.run())
    await world.round()
    world.put(CART, "10.244.1.3")
    busy = await kernel.at_work()
    world.put(DNS, "10.244.1.3")
    busy.set()
    await world.round()
    busy = await kernel.at_work()
    world.clock.advance(61.0)
    assert not health.healthy
    busy.set()
    await world.round()
    assert health.healthy
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_change_that_came_while_many_were_taken_is_done_with_them() -> None:
    world = World()
    health = Health(world.clock, lambda path, code: None, patience=60.0)
    world.sync.tell(health)
    for number in range(250):  # more than are taken at once
        world.put(service(f"s{number}", f"10.96.1.{number}"))
    loop = asyncio.create_task(world.sync.run())
    asyncio.get_running_loop().call_soon(world.put, DNS, "10.244.1.3")
    await world.round()
    assert key(DNS) in world.kernel.held
    world.clock.advance(61.0)
    assert health.healthy
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_a_change_that_is_refused_at_once_is_tried_again_as_any_other() -> None:
    world = World()
    async with world.running():
        world.kernel.refusals = ["no room"]
        world.put(CART, "10.244.1.2")
        world.sync.follow_now()
        world.put(DNS, "10.244.1.2")
        world.sync.follow_now()
        assert world.kernel.held == {}
        assert await world.failure() == "no room"
        world.clock.advance(await world.clock.sleeper())
        assert (await world.round())[0].kind is RoundKind.REPAIR
        assert world.kernel.held == world.sync.program


@pytest.mark.parametrize("why", ["others", "node", "flows", "many"])
async def test_what_is_more_than_a_small_change_waits_for_its_turn(why: str) -> None:
    world = World()
    world.put(DNS, "10.244.1.2")
    async with world.running():
        held = dict(world.kernel.held)
        world.put(CART, "10.244.1.2")
        if why == "others":
            world.sync.kernel_changed("nft (pid 7)")
        if why == "node":
            world.cache.put_settings(NodeSettings(name="node-a", zone="east"))
        if why == "flows":
            world.flows.open.clear()
        if why == "many":
            world.kernel.at_once = 1
        world.sync.follow_now()
        assert world.kernel.held == held
        world.flows.open.set()
        await world.round()
        assert world.kernel.held == world.sync.program
        assert key(CART) in world.kernel.held


def test_a_listener_is_called_only_for_what_it_does_something_about() -> None:
    class Quiet(Listener):
        """Hears of failures, and of nothing else."""

        def failed(self, kind: RoundKind, error: ApplyFailed) -> None:
            raise error

    audience = Audience([Listener(), Quiet()])
    heard = {name: len(methods) for name, methods in vars(audience).items()}
    assert heard == {"pending": 0, "finished": 0, "returned": 0, "noticed": 0, "failed": 1}
