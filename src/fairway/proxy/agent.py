"""The proxy of one node: objects come in from the API, the kernel follows, probes and scrapes are answered.

informers ──▶ cache ──▶ Sync ──▶ kernel
Node, ServiceCIDRs, local addresses ──▶ NodeSettings ──▶ cache  :10256 healthz livez    :10249 metrics proxyMode status
kernel's notifications ──▶ Sync
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain
from typing import Any, Protocol

import msgspec

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.client.recorder import Recorders
from fairway.kernel.contract import ApplyFailed, Live, ModeKernel, Ownership
from fairway.model.problems import Problem
from fairway.model.view import Key
from fairway.objects.cluster import Node
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.networking import ServiceCIDR
from fairway.objects.resources import SERVICE_CIDRS
from fairway.objects.service import Service
from fairway.proxy import gates
from fairway.proxy.cache import Batch, Cache, Cause
from fairway.proxy.canary import PATH as CANARY_PATH
from fairway.proxy.canary import Canary, canary_frontend
from fairway.proxy.checks import CheckPorts
from fairway.proxy.claim import Claim
from fairway.proxy.configuration import Configuration
from fairway.proxy.door import Door
from fairway.proxy.followed import Followed, all_known
from fairway.proxy.forgetting import FlowT, Forgetting, Tracking
from fairway.proxy.health import Health
from fairway.proxy.laststate import LastState, keep
from fairway.proxy.listeners import Listener
from fairway.proxy.metrics import Metrics
from fairway.proxy.node import doubts, settings_of
from fairway.proxy.pages import (
    flag_page,
    moment,
    problem_document,
    receipt_document,
    round_document,
    status_page,
)
from fairway.proxy.receipts import Receipt, Round
from fairway.proxy.relayed import RelaySide
from fairway.proxy.secrets import SecretFollower
from fairway.proxy.start import Start
from fairway.proxy.switching import Switching
from fairway.proxy.sync import Sync
from fairway.proxy.telling import COMPONENT, Telling, budget
from fairway.proxy.usage import Sources, Usage
from fairway.proxy.values import Bind
from fairway.proxy.web import Answer, Routes, WebServer, json_answer, text
from fairway.runtime.clock import Clock, SystemClock
from fairway.runtime.retry import Backoff, Patience

log = logging.getLogger(__name__)

TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
SILENCE_SECONDS = 3.0
"""So long may the API keep silent at the start until what is remembered counts."""
CONFIGZ_GROUP = "kubeproxy.config.k8s.io"
_SHOWN_RECEIPTS = 20


class Notices(Protocol):
    """Something the event loop can wait for."""

    def fileno(self) -> int: ...


class LocalAddresses(Notices, Protocol):
    """This machine's addresses; readable when they change."""

    def drain(self) -> bool: ...

    def list(self) -> tuple[str, ...]: ...


class _CheckFollower(Listener):
    """The health-check ports follow what the kernel has acknowledged."""

    def __init__(self, checks: CheckPorts, cache: Cache) -> None:
        self._checks, self._cache = checks, cache

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        for service, check in batch.checks.items():
            self._checks.put(service, check)

    def returned(self, done: Round) -> None:
        self._checks.settle(self._cache.settings)


class _Returned(Listener):
    """Does something when another thread has been at the kernel."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def returned(self, done: Round) -> None:
        self._work()


class Agent:
    """One proxy. Everything that touches the machine is passed in; whoever made it closes it.

    ``configuration`` says what its user wants; the mode is the one of ``start``, and later that of ``switching``.
    """

    def __init__(
        self,
        configuration: Configuration,
        start: Start,
        claim: Claim,
        *,
        tracking: Tracking[FlowT],
        addresses: LocalAddresses,
        relay: RelaySide,
        usage: Sources | None = None,
    ) -> None:
        self.configuration = configuration
        self._addresses = addresses
        self._clock: Clock = SystemClock()
        self._node: Node | None = None
        self._networks: dict[Key, ServiceCIDR] = {}
        self._local = addresses.list()
        self._doubts: list[str] = []
        canary = canary_frontend(configuration)
        relays = start.choice.here.relays
        self.cache = Cache(settings_of(configuration, None, self._local, relays=relays), canary)
        on = gates.all_of_them(configuration.document.feature_gates)
        self.metrics = Metrics(self.cache, self._clock, start.choice.here.mode, on)
        self.metrics.follow(start.choice.here.mode, start.opened.figures)
        self.usage = Usage(self.cache, usage, configuration.service_metrics, self._clock) if usage else None
        if self.usage is not None:
            self.metrics.registry.register(self.usage)
        self.health = Health(self._clock, self.metrics.probed, configuration.patience)
        self.metrics.health = self.health
        self.health.canary = self.canary = Canary(canary, self._clock) if canary else None
        self._telling = Telling(configuration.node_name, self.cache.service)
        self.checks = CheckPorts(lambda: self.health.healthy, self._clock, self._telling.check_port_failed)
        self._forgetting = Forgetting(tracking, self.cache, self._clock, self.metrics.forgot_flows, relay.places)
        self._relay = relay
        self.secrets = SecretFollower(self.cache, relay.certificates, self._telling.secret_unusable)
        self.metrics.registry.register(relay)
        self.sync: Sync[Any, Any, Any] = Sync(
            start.opened.mode,
            start.opened.kernel,
            self.cache,
            self._forgetting,
            clock=self._clock,
            listeners=(
                self.metrics,
                self.health,
                self._telling,
                _CheckFollower(self.checks, self.cache),
                self.secrets,
                _Returned(relay.settled),
                _Returned(self._kernel_changed),
            ),
            patience=Patience(Backoff(first=0.05, most=10.0), self._clock),
        )
        self._wanted = start.wanted
        self.switching = Switching(
            start.site,
            start.file,
            start.choice,
            start.opened,
            self.cache,
            self._clock,
            sync=self.sync,
            on_change=self._mode_changed,
        )
        self._door = Door(claim.socket, self.switching)
        self._heard: ModeKernel[Any, Any] | None = None
        self._running = False
        self._followed: Followed | None = None
        self._remembered: float | None = None

    async def run(self, client: Client, on_ready: Callable[[], None], last: LastState | None = None) -> None:
        """Follow the API until cancelled; ``on_ready`` is called when the kernel has acknowledged the first whole.

        When the API does not answer, that is what ``last`` remembers, if it does.
        """
        name = self.configuration.node_name
        followed = self._followed = Followed.of(
            client,
            name,
            services=self._service_changed,
            slices=self._slice_changed,
            nodes=self._node_changed,
            pause=self.sync.follow_now,
            problem=self._telling.unreadable,
        )
        self._telling.unread = followed.service
        networks = Informer(client, SERVICE_CIDRS, on_change=self._network_changed)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            objects = (followed.services, followed.slices, followed.nodes)
            for informer in (*objects, networks):
                group.create_task(informer.run())
            for bind, routes, flag in self._servers():
                group.create_task(self._serve(bind, routes, flag, stack))
            # Half of the objects would be half of the rules: nothing is applied before everything is known.
            known = group.create_task(all_known(networks, *objects))
            await self._first_whole(known, last, followed)
            self._settle()
            self._running = True
            group.create_task(self._tell(client))
            group.create_task(self.sync.run())
            group.create_task(self._forgetting.run())
            group.create_task(self.checks.run())
            group.create_task(self.secrets.run(client))
            self._listen(stack)
            await self.sync.ready()
            await self._door.start()
            stack.push_async_callback(self._door.close)
            stack.push_async_callback(self.switching.close)
            await self.switching.begin(self._wanted)
            on_ready()
            if self.canary is not None:
                group.create_task(self.canary.run())
            if self.usage is not None:
                group.create_task(self.usage.run())
            if last is not None:
                await known
                state = partial(followed.state, last.cluster)
                await keep(last, lambda: self.sync.receipts.total, state, self._clock)

    async def _tell(self, client: Client) -> None:
        """Write Events for as long as this process runs."""
        recorders = Recorders(client, Patience(Backoff(first=1.0, most=60.0), self._clock), budget(self._clock.now()))
        self._telling.recorder = recorders.of(COMPONENT, self._telling.instance)
        if self._node is not None:
            self._telling.started(self._node)
        for one in self._followed.problems() if self._followed else ():
            self._telling.unreadable(one)
        await recorders.run()

    async def _first_whole(self, known: asyncio.Task[None], last: LastState | None, followed: Followed) -> None:
        """Until the API has told everything; or, when it keeps silent, until what is remembered has taken its place."""
        silence = asyncio.create_task(self._clock.sleep(SILENCE_SECONDS))
        try:
            await asyncio.wait({known, silence}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            silence.cancel()
        found = last.load() if last is not None and not known.done() else None
        if found is None:
            await known
            return
        followed.remember(found)
        self._remembered = found.saved_at
        age = max(0.0, self._clock.now() - found.saved_at)
        log.warning(
            "the API server has not told what there is: %d Services as they were %.0f s ago", len(found.services), age
        )
        known.add_done_callback(self._answered)

    def _answered(self, known: asyncio.Task[None]) -> None:
        if not known.cancelled():
            self._remembered = None
            log.info("the API server has answered: what was remembered is replaced")

    def status(self) -> dict[str, Any]:
        """What `fairway lab status` and people ask for."""
        frontends = Counter(one.kind.value for one in self.cache.frontends.values())
        return {
            "mode": self.switching.here.mode,
            "variant": self.switching.here.variant,
            "leaving": self.switching.leaving,
            "switch": self.switching.progress.document() if self.switching.progress else None,
            "ready": self.sync.is_ready,
            "healthy": self.health.healthy,
            "tables": _known(self.switching.opened.ownership),
            "node": msgspec.to_builtins(self.cache.settings),
            "notes": [
                *self.configuration.notes,
                *self.switching.notes(),
                *self._doubts,
                *(self.canary.notes() if self.canary else ()),
                *(self._followed.notes() if self._followed else ()),
                *self.checks.problems,
                *self._relay.certificates.problems.values(),
            ],
            "rememberedFrom": moment(self._remembered) if self._remembered else None,
            "services": self.cache.services,
            "endpointSlices": self.cache.slices,
            "frontends": dict(sorted(frontends.items())),
            "connections": _known(self.switching.opened.live),
            "relay": self._relay.status(),
            "problems": [problem_document(one) for one in self._problems()],
            "refused": {str(key): reason for key, reason in list(self.sync.refused.items())},
            "rounds": [round_document(one) for one in self.sync.rounds],
            "receipts": [receipt_document(one) for one in list(self.sync.receipts)[-_SHOWN_RECEIPTS:]],
        }

    def _problems(self) -> Iterator[Problem]:
        if self._followed is not None:
            yield from self._followed.problems()
        yield from chain.from_iterable(self.sync.problems().values())

    def _servers(self) -> list[tuple[Bind | None, Routes, str]]:
        health = {"/healthz": self.health.healthz, "/livez": self.health.livez}
        if self.canary is not None:
            health[CANARY_PATH] = self.canary.page
        started = self._clock.now()
        metrics: dict[str, Callable[[], Answer]] = {
            "/healthz": lambda: text("ok"),
            "/metrics": self.metrics.scrape,
            "/proxyMode": lambda: text(self.switching.here.mode),
            "/metrics/slis": self.metrics.indicators,
            "/configz": lambda: json_answer({CONFIGZ_GROUP: self.configuration.document}),
            "/status": lambda: json_answer(self.status()),
        }
        on = self.configuration.document.feature_gates
        if gates.is_on(on, gates.FLAGZ):
            metrics["/flagz"] = lambda: text(flag_page(self.configuration.document))
        if gates.is_on(on, gates.STATUSZ):
            metrics["/statusz"] = lambda: text(status_page(self._clock.now() - started, [*metrics, *health]))
        return [
            (self.configuration.healthz, health, "--healthz-bind-address"),
            (self.configuration.metrics, metrics, "--metrics-bind-address"),
        ]

    async def _serve(self, bind: Bind | None, routes: Routes, flag: str, stack: AsyncExitStack) -> None:
        """Listen there for as long as the stack is open. Raises `CannotListen` when the configuration says so."""
        if bind is not None:
            server = WebServer(bind, routes)
            await server.start_when_free(flag, self._clock, at_once=self.configuration.bind_hard)
            stack.push_async_callback(server.close)

    def _listen(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._addresses.fileno(), self._addresses_changed)
        stack.callback(loop.remove_reader, self._addresses.fileno())
        self._listen_to(self.switching.opened.kernel)
        stack.callback(self._listen_to, None)

    def _listen_to(self, kernel: ModeKernel[Any, Any] | None) -> None:
        loop = asyncio.get_running_loop()
        if self._heard is not None:
            loop.remove_reader(self._heard.fileno())
        self._heard = kernel
        if kernel is not None:
            loop.add_reader(kernel.fileno(), self._kernel_changed)

    def _mode_changed(self) -> None:
        """The kernel is in another mode, and has everything."""
        opened = self.switching.opened
        self._listen_to(opened.kernel)
        self.metrics.follow(self.switching.here.mode, opened.figures)
        if self.usage is not None:
            self.usage.follow(opened.connections)

    def _kernel_changed(self) -> None:
        if self._heard is not None:
            for who in self._heard.others():
                self.sync.kernel_changed(who)

    def _addresses_changed(self) -> None:
        if self._addresses.drain():
            self._local = self._addresses.list()
            self._settle()

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        cause = self._cause("Service", key, new or old)
        self.cache.put_service(key, new, cause)
        self.metrics.event(cause)
        self.sync.note()

    def _slice_changed(self, key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        cause = self._cause("EndpointSlice", key, new or old)
        if self.cache.put_slice(key, new, cause):
            self.metrics.event(cause)
            self.sync.note()

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        if key.name == self.configuration.node_name:
            self._node = new
            self.health.node_changed(new)
            if self._running:
                self._settle()

    def _network_changed(self, key: Key, old: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        if new is not None:
            self._networks[key] = new
        else:
            self._networks.pop(key, None)
        if self._running:
            self._settle()

    def _settle(self) -> None:
        """The Node, the ServiceCIDRs, the machine's addresses and the flags say anew what this node is."""
        if self._node is None:
            self.health.node_changed(None)
        noted = doubts(self.configuration, self._node)
        for sentence in noted:
            if sentence not in self._doubts:
                log.warning("%s", sentence)
        self._doubts = noted
        relays = self.cache.settings.relays  # what a switch makes of it, from its beginning on
        networks = self._networks.values()
        if self.cache.put_settings(settings_of(self.configuration, self._node, self._local, networks, relays=relays)):
            self.sync.changed()

    def _cause(self, kind: str, key: Key, one: Service | EndpointSlice | None) -> Cause:
        meta = one.metadata if one else None
        trigger = meta.annotation(TRIGGER_ANNOTATION) if meta and kind == "EndpointSlice" else ""
        return Cause(kind, key, meta.resource_version if meta else "", self._clock.monotonic(), trigger)


def _known(ask: Callable[[], Ownership | Live] | None) -> dict[str, Any] | None:
    """What the kernel says of itself, where it can be asked."""
    try:
        return ask()._asdict() if ask else None
    except ApplyFailed:
        return None
