"""The keeper of cluster IPs: what follows from ServiceCIDRs and IPAddresses that come and go, whoever changes them.

    a ServiceCIDR comes or changes       ─▶ addresses are taken from it, or no longer
    one is deleted, its addresses held   ─▶ it stays, its Ready condition says why
    one is deleted, nothing held in it   ─▶ its finalizer goes, and with it the ServiceCIDR
    the default one has gone             ─▶ it is made again
    an address has rested long enough    ─▶ its IPAddress goes

Writes of this very process are known at once (`Registry`); the watches here are what tells of other servers on the same
storage. What the keeper decides it writes with the versions it was decided on, so several keepers do no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fairway.apiserver.allocation import Ranges, ServiceNetwork, may_go
from fairway.apiserver.apply.owners import SERVER
from fairway.apiserver.claims import ADDRESSES, PORTS, held_by
from fairway.apiserver.metadata import DeleteOptions
from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import Event, StorageError, WatchClosed
from fairway.apiserver.stored import Stored
from fairway.apiserver.validation.formats import Address, parse_address
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.networking import DEFAULT_SERVICE_CIDR, SERVICE_CIDR_FINALIZER
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, rfc3339

_RETRY_SECONDS = 1.0
_TERMINATING = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

log = logging.getLogger(__name__)


async def ensure_default(registry: Registry, configured: Ranges) -> None:
    """The ServiceCIDR of the configuration, made or completed; one that says something else stays, with a warning.

    It gives way to the configuration by itself only while nobody but the API's own Service holds an address of it.
    """
    kind = registry.kinds[resources.SERVICE_CIDRS]
    cidrs = [ranges[0].name for ranges in configured.addresses.values()]
    found = await registry.find(kind, "", DEFAULT_SERVICE_CIDR)
    there = found.document()["spec"]["cidrs"] if found else []
    if there == cidrs:
        return
    if there and cidrs[: len(there)] == there:
        await registry.update(kind, "", DEFAULT_SERVICE_CIDR, lambda old: {**old, "spec": {"cidrs": cidrs}})
        return
    if there and not await _give_way(registry):
        log.warning(
            "--service-cluster-ip-range is %s, but the ServiceCIDR %s has %s, and Services have addresses of it: it "
            "stays. Create a ServiceCIDR with the new range, delete this one, and move the Services",
            ",".join(cidrs),
            DEFAULT_SERVICE_CIDR,
            ",".join(there),
        )
        return
    with contextlib.suppress(ApiError):  # Another server may be doing the same.
        await registry.create(kind, "", {"metadata": {"name": DEFAULT_SERVICE_CIDR}, "spec": {"cidrs": cidrs}})


async def _give_way(registry: Registry) -> bool:
    """Remove the default ServiceCIDR if only ``default/kubernetes`` has an address; whether it has gone."""
    own = ("default", "kubernetes")
    if any(held_by(one.document()) not in (own, None) for one in await _addresses(registry)):
        return False
    services, kind = registry.kinds[resources.SERVICES], registry.kinds[resources.SERVICE_CIDRS]
    if await registry.find(services, *own):
        await registry.delete(services, *own, DeleteOptions())
    await registry.delete(kind, "", DEFAULT_SERVICE_CIDR, DeleteOptions())
    await registry.update(kind, "", DEFAULT_SERVICE_CIDR, _without_finalizer)
    return await registry.find(kind, "", DEFAULT_SERVICE_CIDR) is None


async def _addresses(registry: Registry) -> list[Stored]:
    kind = registry.kinds[resources.IP_ADDRESSES]
    return [Stored.of(kind, entry) for entry in (await registry.storage.list(ADDRESSES)).entries]


class NetworkKeeper:
    """Run it beside the server: ``await NetworkKeeper(…).run()``, until it is cancelled or the storage closes."""

    def __init__(self, registry: Registry, configured: Ranges, clock: Clock) -> None:
        self._registry = registry
        self._configured = configured
        self._clock = clock
        self._changed = asyncio.Event()

    async def run(self) -> None:
        claims = self._registry.claims
        followers = [
            asyncio.create_task(self._follow(ADDRESSES, lambda: claims.load(ADDRESSES), self._note_claim)),
            asyncio.create_task(self._follow(PORTS, lambda: claims.load(PORTS), self._note_claim)),
            asyncio.create_task(self._follow(_networks(self._registry), self._networks_changed, self._note_network)),
        ]
        worker = asyncio.create_task(self._work())
        try:
            await asyncio.gather(*followers)
        finally:
            for task in (*followers, worker):
                task.cancel()
            await asyncio.gather(*followers, worker, return_exceptions=True)

    async def _follow(
        self, prefix: str, load: Callable[[], Awaitable[int]], note: Callable[[Event], Awaitable[None]]
    ) -> None:
        while True:
            try:
                watch = await self._registry.storage.watch(prefix, after=await load())
                self._changed.set()
                try:
                    while True:
                        for event in await watch.next():
                            await note(event)
                finally:
                    watch.close()
            except WatchClosed as closed:
                if not closed.slow:
                    return
            except StorageError as error:
                log.warning("cannot follow the cluster IPs, trying again: %s", error)
                await self._clock.sleep(_RETRY_SECONDS)

    async def _note_claim(self, event: Event) -> None:
        self._registry.claims.follow(event)
        if event.entry is None or self._registry.ledger.resting:
            self._changed.set()

    async def _note_network(self, event: Event) -> None:
        await self._networks_changed()
        self._changed.set()

    async def _networks_changed(self) -> int:
        return await self._registry.refresh_networks()

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            try:
                seconds = await self._settle()
            except (ApiError, StorageError) as error:
                log.warning("the ServiceCIDRs could not be looked after, trying again: %s", error)
                seconds = _RETRY_SECONDS
            await self._wait(seconds)

    async def _wait(self, seconds: float | None) -> None:
        """For a change, or for the time when the next address has rested."""
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._changed.wait())]
        if seconds is not None:
            waiting.append(asyncio.create_task(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _settle(self) -> float | None:
        """Do everything there is to do now; gives the seconds until something has to be done without a change."""
        networks = self._registry.networks
        if all(one.name != DEFAULT_SERVICE_CIDR for one in networks):
            await ensure_default(self._registry, self._configured)
        leaving = [one for one in networks if one.leaving]
        if leaving:
            held = [address for one in await _addresses(self._registry) if (address := _held(one)) is not None]
            for one in leaving:
                await (self._let_go(one) if may_go(one, networks, held) else self._explain(one))
        return await self._registry.claims.end_rests()

    async def _let_go(self, network: ServiceNetwork) -> None:
        await self._change(network, _without_finalizer, "")

    async def _explain(self, network: ServiceNetwork) -> None:
        if not network.ready_condition:
            return
        condition = {
            "type": "Ready",
            "status": "False",
            "lastTransitionTime": rfc3339(self._clock.now()),
            "reason": "Terminating",
            "message": _TERMINATING,
        }
        await self._change(network, lambda old: {**old, "status": {"conditions": [condition]}}, "status")

    async def _change(self, network: ServiceNetwork, change: Callable[[Document], Document], subresource: str) -> None:
        """Change exactly the version that was judged; another one is judged again."""

        def unchanged(old: Document) -> Document:
            old["metadata"]["resourceVersion"] = str(network.revision)
            return change(old)

        kind = self._registry.kinds[resources.SERVICE_CIDRS]
        try:
            await self._registry.update(kind, "", network.name, unchanged, author=SERVER.through(subresource))
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise
            self._changed.set()


def _networks(registry: Registry) -> str:
    return registry.kinds[resources.SERVICE_CIDRS].prefix


def _held(address: Stored) -> Address | None:
    """The address of an IPAddress that a Service holds."""
    document = address.document()
    return parse_address(document["metadata"]["name"]) if held_by(document) else None


def _without_finalizer(document: Document) -> Document:
    metadata = document["metadata"]
    metadata["finalizers"] = [one for one in metadata.get("finalizers", ()) if one != SERVICE_CIDR_FINALIZER]
    return document
