"""The pulse of a lab's nodes: their Leases, renewed; and a way to let a node fall silent.

kubectl annotate node node-2 lab.fairway.dev/silent=true       its Lease is not renewed any more
kubectl annotate node node-2 lab.fairway.dev/silent-           it is again
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.controllers.heartbeat import INTERVAL_SECONDS, Heartbeat
from fairway.objects.cluster import Node
from fairway.objects.meta import Key
from fairway.objects.resources import NODES
from fairway.runtime.clock import Clock

SILENT = "lab.fairway.dev/silent"


async def keep_pulse(
    client: Client, names: Iterable[str], *, interval: float = INTERVAL_SECONDS, clock: Clock | None = None
) -> None:
    """Renew the Leases of these nodes until cancelled, but for those that are to be silent."""
    nodes: Informer[Node] = Informer(client, NODES)

    def speaks_for(name: str) -> bool:
        node = nodes.cache.get(Key("", name))
        return node is not None and node.metadata.annotation(SILENT) != "true"

    heartbeat = Heartbeat(client, names, interval=interval, speaks_for=speaks_for, clock=clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(nodes.run())
        await nodes.synced()
        group.create_task(heartbeat.run())
