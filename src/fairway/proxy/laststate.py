"""The last known state on disk, so that a node that boots while the API is away has its Services.

informers ──each minute and in the end, if something changed──▶ file ──at a start, when the API is silent──▶ informers

What was remembered is replaced as soon as the API answers: the differences come out as changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from fairway.client.kubeconfig import Connection
from fairway.objects.cluster import Node
from fairway.objects.compact import SlimSlice
from fairway.objects.service import Service
from fairway.proxy.keptfile import KeptFile
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

DIRECTORY = Path("/var/lib/fairway/proxy")
SAVE_SECONDS = 60.0


class Remembered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``saved_at`` is in seconds since 1970; ``cluster`` says whose objects these are."""

    cluster: str
    saved_at: float
    services: list[Service]
    slices: list[SlimSlice]
    nodes: list[Node]


def cluster_of(connection: Connection, node: str) -> str:
    """The same for the same server, authority and node: no other cluster's objects are taken for this one's."""
    parts = (connection.server.encode(), connection.certificate_authority, node.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


class LastState(KeptFile[Remembered]):
    """One file, for one cluster and node."""

    path: Path

    def __init__(self, path: Path, cluster: str) -> None:
        super().__init__(path, Remembered, "the last known state")
        self.cluster = cluster

    def load(self) -> Remembered | None:
        """What was saved of this cluster; None when there is nothing that can be used."""
        found = super().load()
        if found is not None and found.cluster != self.cluster:
            log.info("%s is of another cluster or node, and is not used", self.path)
            return None
        return found


async def keep(last: LastState, changes: Callable[[], int], state: Callable[[float], Remembered], clock: Clock) -> None:
    """Save the ``state`` of now, a minute apart, when there are more ``changes``; once more when it is cancelled."""
    kept = -1
    try:
        while True:
            if (there := changes()) != kept:
                kept = there
                await asyncio.to_thread(last.save, state(clock.now()))
            await clock.sleep(SAVE_SECONDS)
    finally:
        if changes() != kept:
            last.save(state(clock.now()))
