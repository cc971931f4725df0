"""A whole cluster in use by one process: ask from anywhere, apply anything. What the pytest fixtures give."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fairway.client.http import Client as ApiClient
from fairway.kernel.command import run
from fairway.lab.check import Report, check
from fairway.lab.cluster import LabCluster, Plan, client_of
from fairway.lab.manifest import Applied, apply, read_files, read_text
from fairway.lab.readiness import until_ready
from fairway.lab.running import Client
from fairway.lab.topology import Topology
from fairway.objects.resources import SERVICES

T = TypeVar("T")


class RunningCluster:
    """A whole cluster for as long as the ``with`` block: API server, controllers, pods, and a proxy on each node."""

    def __init__(self, plan: Plan) -> None:
        self._cluster = LabCluster(plan)
        self.network = self._cluster.network

    def __enter__(self) -> RunningCluster:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._cluster.up()).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.down()

    @property
    def topology(self) -> Topology:
        return self.network.topology

    @property
    def kubeconfig(self) -> Path:
        return self._cluster.state.kubeconfig

    def client_from(self, place: str) -> Client:
        """Somebody at a pod (``shop/cart-6f7d``), at a node, in a pod's place on a node (``client-node-1``), or
        ``outside``; raises `LabError` for an unknown place.
        """
        return Client(self.network.place(place))

    def apply(self, manifest: str | Path, *, seconds: float = 30.0) -> list[Applied]:
        """Apply a file, a directory, or the text of a manifest, and wait until everything is ready.

        Raises `ManifestError`, and `LabError` for what is not ready after so many seconds.
        """
        is_text = isinstance(manifest, str) and "\n" in manifest
        entries = read_text(str(manifest)) if is_text else read_files([Path(manifest)])

        async def work(api: ApiClient) -> list[Applied]:
            applied = await apply(api, entries)
            await until_ready(api, seconds)
            return applied

        return self.api(work)

    def check(self, *, patience: float = 10.0) -> Report:
        """What `fairway lab check` finds."""
        return self.api(lambda api: check(api, self.network, patience=patience))

    def cluster_ip(self, service: str) -> str:
        """The address of the Service ``namespace/name`` (or ``name``, in ``default``)."""
        namespace, _, name = service.rpartition("/")
        return self.api(lambda api: api.get(SERVICES, name, namespace or "default")).spec.cluster_ip

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 30.0) -> str:
        """What kubectl prints; raises `CommandFailed`."""
        return run(["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments], input=input, timeout=timeout)

    def api(self, work: Callable[[ApiClient], Awaitable[T]]) -> T:
        """What ``work`` returns, given a client of the API server. Also from a test that is a coroutine itself."""

        async def call() -> T:
            async with client_of(self._cluster.state) as client:
                return await work(client)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, call()).result()
