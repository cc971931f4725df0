"""Which API servers there are: each renews a Lease, and all of them together are the endpoints of default/kubernetes.

::

    Lease kube-system/apiserver-1f3a…   192.0.2.1:6443   renewed 4 s ago ─┐    Endpoints default/kubernetes
    Lease kube-system/apiserver-77b0…   192.0.2.2:6443   renewed 9 s ago ─┴─▶  EndpointSlice default/kubernetes
    Lease kube-system/apiserver-c001…   192.0.2.3:6443   silent for 15 s ──▶   deleted

Silence is measured by the clock of whoever listens, from when it last saw the Lease change, so that no two clocks are
compared. A server that nobody else can reach, because it listens on loopback, has no Lease and is no endpoint.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from fairway.apiserver.kinds import Kind
from fairway.apiserver.metadata import DeleteOptions, Preconditions
from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import StorageError
from fairway.apiserver.stored import Stored
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.endpointslice import SERVICE_NAME_LABEL
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, rfc3339_micro

INTERVAL_SECONDS = 10.0
SILENCE_SECONDS = 15.0
NAME, NAMESPACE = "kubernetes", "default"
LEASES_NAMESPACE = "kube-system"
IDENTITY_LABEL = "apiserver.kubernetes.io/identity"
_IDENTITY = "kube-apiserver"
# Two of a kind in a row: another server wrote at the same moment.
_RACES = ("NotFound", "AlreadyExists", "Conflict")

log = logging.getLogger(__name__)


class Server(NamedTuple):
    """Where an API server is reached."""

    address: str
    port: int

    @property
    def holder(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def lease(self) -> str:
        return f"apiserver-{hashlib.sha256(self.holder.encode()).hexdigest()[:26]}"

    @property
    def reachable(self) -> bool:
        """Whether anybody on another machine could be meant to connect there."""
        return not ipaddress.ip_address(self.address).is_loopback


class Presence:
    """Says that one server is here, and notes who else is."""

    def __init__(self, registry: Registry, clock: Clock, server: Server) -> None:
        self._registry = registry
        self._clock = clock
        self._server = server
        # lease name → its revision, and when we first saw it
        self._seen: dict[str, tuple[int, float]] = {}

    async def begin(self) -> None:
        """Be one of the endpoints from now on; raises `ApiError` and `StorageError`."""
        if self._server.reachable:
            await self._announce()
        await self._reconcile(await self._living())

    async def run(self) -> None:
        """Renew, and look for others, until cancelled; what fails is tried again at the next turn."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            try:
                await self.begin()
            except (ApiError, StorageError) as error:
                log.warning("the endpoints of default/kubernetes could not be renewed: %s", error)

    async def leave(self) -> None:
        """Be no endpoint any more; what cannot be said now, the others will notice."""
        try:
            await self._forget(self._server.lease)
            await self._reconcile(one for one in await self._living() if one != self._server)
        except (ApiError, StorageError) as error:
            log.warning("this server could not be taken from the endpoints of default/kubernetes: %s", error)

    async def _announce(self) -> None:
        kind, server = self._registry.kinds[resources.LEASES], self._server
        now = rfc3339_micro(self._clock.now())
        spec = {"holderIdentity": server.holder, "leaseDurationSeconds": int(SILENCE_SECONDS), "renewTime": now}
        metadata = {"name": server.lease, "labels": {IDENTITY_LABEL: _IDENTITY}}
        try:
            await self._registry.update(
                kind, LEASES_NAMESPACE, server.lease, lambda old: {**old, "spec": {**old["spec"], **spec}}
            )
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            document = {"metadata": metadata, "spec": {**spec, "acquireTime": now}}
            await self._registry.create(kind, LEASES_NAMESPACE, document)

    async def _living(self) -> list[Server]:
        """Every server whose Lease was renewed lately; the others' Leases are deleted."""
        kind = self._registry.kinds[resources.LEASES]
        listing = await self._registry.storage.list(kind.within(LEASES_NAMESPACE))
        living: list[Server] = []
        seen: dict[str, tuple[int, float]] = {}
        for stored in (Stored.of(kind, entry) for entry in listing.entries):
            if stored.labels().get(IDENTITY_LABEL) != _IDENTITY:
                continue
            document = stored.document()
            name = document["metadata"]["name"]
            known = self._seen.get(name)
            now = self._clock.monotonic()
            seen[name] = known if known and known[0] == stored.revision else (stored.revision, now)
            server = _server_of(document)
            if server is None or now - seen[name][1] >= SILENCE_SECONDS:
                await self._forget(name, stored.revision)
            else:
                living.append(server)
        self._seen = seen
        return living

    async def _forget(self, lease: str, revision: int = 0) -> None:
        """Delete a Lease, unless it has been renewed since that revision."""
        unchanged = Preconditions(resourceVersion=str(revision)) if revision else None
        await self._unless_somebody_was_faster(resources.LEASES, lease, DeleteOptions(preconditions=unchanged))

    async def _reconcile(self, living: Iterable[Server]) -> None:
        """Write the endpoints of default/kubernetes where they are others."""
        by_port: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        for one in sorted(set(living)):
            by_port[one.port, ipaddress.ip_address(one.address).version].append(one.address)
        subsets = [
            {"addresses": [{"ip": address} for address in addresses], "ports": [_port(port)]}
            for (port, _), addresses in sorted(by_port.items())
        ]
        content: Document = {"subsets": subsets} if subsets else {}
        # The controllers would mirror it into slices of their own.
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        await self._put(resources.ENDPOINTS, NAME, labels, content)
        slices = _slices(by_port)
        for name, content in slices.items():
            await self._put(resources.ENDPOINT_SLICES, name, {SERVICE_NAME_LABEL: NAME}, content)
        await self._remove_slices(keep=set(slices))

    async def _put(self, resource: Resource, name: str, labels: dict[str, str], content: Document) -> None:
        kind = self._registry.kinds[resource]
        found = await self._registry.find(kind, NAMESPACE, name)
        if found and found.document().get("addressType") != content.get("addressType"):
            # Which never changes: what was the name of one family's slice is now that of the other.
            await self._unless_somebody_was_faster(resource, name, DeleteOptions())
            found = None
        try:
            if found is None:
                metadata = {"name": name, "labels": labels}
                await self._registry.create(kind, NAMESPACE, {"metadata": metadata, **content})
            elif _content(kind, found.document()) != content:
                await self._registry.update(kind, NAMESPACE, name, lambda old: {**_without_content(old), **content})
        except ApiError as error:
            if error.reason not in _RACES:
                raise

    async def _remove_slices(self, keep: set[str]) -> None:
        """Those of ports that no server has any more, and of another family than the ones there are."""
        kind = self._registry.kinds[resources.ENDPOINT_SLICES]
        for entry in (await self._registry.storage.list(kind.within(NAMESPACE))).entries:
            stored = Stored.of(kind, entry)
            name = str(stored.document()["metadata"]["name"])
            ours = name == NAME or name.startswith(f"{NAME}-ipv")
            if ours and name not in keep and stored.labels().get(SERVICE_NAME_LABEL) == NAME:
                await self._unless_somebody_was_faster(resources.ENDPOINT_SLICES, name, DeleteOptions())

    async def _unless_somebody_was_faster(self, resource: Resource, name: str, options: DeleteOptions) -> None:
        namespace = LEASES_NAMESPACE if resource is resources.LEASES else NAMESPACE
        try:
            await self._registry.delete(self._registry.kinds[resource], namespace, name, options)
        except ApiError as error:
            if error.reason not in _RACES:
                raise


_CONTENT = ("subsets", "addressType", "endpoints", "ports")


def _content(kind: Kind, document: Document) -> Document:
    """What an object says of endpoints, as `_reconcile` would write it."""
    found = {field: document[field] for field in _CONTENT if field in document}
    for endpoint in found.get("endpoints") or ():
        endpoint["conditions"] = {"ready": endpoint.get("conditions", {}).get("ready")}
    return found


def _without_content(document: Document) -> Document:
    return {field: value for field, value in document.items() if field not in _CONTENT}


def _server_of(lease: Document) -> Server | None:
    address, _, port = str(lease.get("spec", {}).get("holderIdentity", "")).rpartition(":")
    try:
        return Server(str(ipaddress.ip_address(address.strip("[]"))), int(port))
    except ValueError:
        return None


def _port(number: int) -> Document:
    return {"name": "https", "port": number, "protocol": "TCP"}


def _slices(by_port: dict[tuple[int, int], list[str]]) -> dict[str, Document]:
    """A slice for each port and family; the first one has the Service's name, as in Kubernetes."""
    found: dict[str, Document] = {}
    for (port, version), addresses in sorted(by_port.items()):
        found[f"{NAME}-ipv{version}-{port}" if found else NAME] = {
            "addressType": f"IPv{version}",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [_port(port)],
        }
    return found or {NAME: {"addressType": "IPv4", "endpoints": [], "ports": []}}
