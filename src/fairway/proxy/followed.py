"""The objects a proxy follows, each kind with the reference's own selection: what is not for it is never sent.

Service         without the label service-proxy-name, with a cluster IP where the server can tell
EndpointSlice   without the label headless
Node            its own
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fairway.client.http import Client, Unreadable
from fairway.client.informer import Informer, OnChange
from fairway.model.problems import Problem
from fairway.model.view import Key
from fairway.objects.cluster import Node
from fairway.objects.compact import SlimSlice, compact_service, compact_slice
from fairway.objects.endpointslice import SERVICE_NAME_LABEL, EndpointSlice
from fairway.objects.networking import ServiceCIDR
from fairway.objects.resources import ENDPOINT_SLICES, NODES, SERVICES
from fairway.objects.service import HEADLESS_LABEL, PROXY_NAME_LABEL, Service
from fairway.proxy.laststate import Remembered


@dataclass(frozen=True)
class Followed:
    """The three kinds of objects."""

    services: Informer[Service]
    slices: Informer[SlimSlice]
    nodes: Informer[Node]

    @classmethod
    def of(
        cls,
        client: Client,
        node: str,
        *,
        services: OnChange[Service],
        slices: OnChange[EndpointSlice],
        nodes: OnChange[Node],
        pause: Callable[[], None] = lambda: None,
        problem: Callable[[Problem], None] = lambda one: None,
    ) -> Followed:
        """Informers of this node's that call these; they begin when they are run. After events of Services
        or slices comes a ``pause``; a Service or a slice that nobody can read is a ``problem``."""
        return cls(
            # A headless Service has no address to serve; one that gets a label goes, as if it had been deleted.
            Informer(
                client,
                SERVICES.shrunk(compact_service),
                on_change=services,
                label_selector=f"!{PROXY_NAME_LABEL}",
            )
            .saving("spec.clusterIP!=None")  # servers know the field since 1.31
            .stream()
            .pausing(pause)
            .reporting(lambda one: problem(_of_service(one))),
            Informer(
                client,
                ENDPOINT_SLICES.read_as(SlimSlice).shrunk(compact_slice),
                on_change=slices,
                label_selector=f"!{HEADLESS_LABEL}",
            )
            .stream()
            .pausing(pause)
            .reporting(lambda one: problem(_of_slice(one))),
            Informer(client, NODES, on_change=nodes, field_selector=f"metadata.name={node}"),
        )

    def remember(self, state: Remembered) -> None:
        # The Node first: it says which endpoints are here.
        self.nodes.remember(state.nodes)
        self.services.remember(state.services)
        self.slices.remember(state.slices)

    def state(self, cluster: str, now: float) -> Remembered:
        return Remembered(
            cluster=cluster,
            saved_at=now,
            services=list(self.services.cache.values()),
            slices=list(self.slices.cache.values()),
            nodes=list(self.nodes.cache.values()),
        )

    def problems(self) -> Iterator[Problem]:
        """Services and slices that are left out because nobody could read them."""
        yield from map(_of_service, self.services.unreadable.values())
        yield from map(_of_slice, self.slices.unreadable.values())

    def service(self, key: Key) -> Service | None:
        """What can be read of a Service that is left out: its name."""
        found = self.services.unreadable.get(key)
        return Service(metadata=found.metadata) if found is not None else None

    def notes(self) -> Iterator[str]:
        """The same of the node's own object."""
        for key, one in self.nodes.unreadable.items():
            yield f"Node {key} cannot be read and is ignored: {one}"


async def all_known(networks: Informer[ServiceCIDR], *informers: Informer[Any]) -> None:
    """Clusters before 1.33 have no ServiceCIDRs, and a role may not name them: then the flag says it."""
    await asyncio.gather(networks.answered(), *(one.synced() for one in informers))


def _of_service(one: Unreadable) -> Problem:
    return Problem(service=one.metadata.key, field=one.field, message=_sentence(one))


def _of_slice(one: Unreadable) -> Problem:
    service = Key(one.metadata.namespace, one.metadata.label(SERVICE_NAME_LABEL))
    return Problem(service=service, slice=one.metadata.name, field=one.field, message=_sentence(one))


def _sentence(one: Unreadable) -> str:
    return f"{one.message}; the whole object is left out"
