"""A cluster in memory: the real API server, the controllers, and the test as its user and its kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fairway.apiserver.collect import Collector
from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.client.asgi import Application, AsgiTransport
from fairway.client.http import Client
from fairway.controllers.runner import Options, run_controllers
from fairway.objects.cluster import Pod
from fairway.objects.endpointslice import Endpoint, EndpointSlice
from fairway.objects.resources import DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, SERVICES
from fairway.runtime.clock import FakeClock
from fairway.runtime.retry import Backoff, Patience


async def settle() -> None:
    """Let everybody do what can be done now; in memory that takes turns of the event loop, and no time."""
    for _ in range(300):
        await asyncio.sleep(0)


class Door:
    """The way to the server: it notes the writes that come through, and it can be shut."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._open: set[asyncio.Task[None]] = set()
        self._shut = False
        self.writes: list[str] = []
        self.refused = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._shut:
            self.refused.set()
            raise ConnectionRefusedError("the server is away")
        if scope["method"] != "GET":
            self.writes.append(f"{scope['method']} {scope['path']}")
        answering = asyncio.ensure_future(self._app(scope, receive, send))
        self._open.add(answering)
        try:
            await asyncio.wait([answering])
        finally:
            answering.cancel()
            self._open.discard(answering)

    def shut(self) -> None:
        """End every conversation, watches too, and let nobody in."""
        self._shut = True
        for answering in self._open:
            answering.cancel()

    def reopen(self) -> None:
        self._shut = False


class World:
    """A cluster in memory: its server, the controllers, and this test as its user and its kubelet."""

    def __init__(self, app: Any, options: Options | None = None, clock: FakeClock | None = None) -> None:
        self._options = options
        # By a clock of the test's own nothing fails for lack of patience: retries come at once.
        self._patience = Patience(Backoff(first=0.0, most=0.0), clock) if clock else None
        self.door = Door(app)
        self.client = Client(AsgiTransport(app))
        self._app = app
        self._controllers: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ready = asyncio.Event()
        client = Client(AsgiTransport(self.door))
        self._controllers = asyncio.create_task(
            run_controllers(client, on_ready=ready.set, patience=self._patience, options=self._options)
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, self._controllers}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._controllers.done():
            self._controllers.result()

    async def stop(self) -> None:
        if self._controllers is not None:
            self._controllers.cancel()
            await asyncio.wait([self._controllers])

    async def until(self, resource: Any, holds: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until the objects of a kind are as they should be; returns them."""
        listed = await self.client.list(resource)
        found = {one.metadata.key: one for one in listed.items}
        if holds(list(found.values())):
            return list(found.values())
        async for events in self.client.watch(resource, listed.metadata.resource_version):
            for event in events:
                if event.type == "DELETED":
                    found.pop(event.metadata.key, None)
                elif event.object is not None:
                    found[event.metadata.key] = event.object
            if holds(list(found.values())):
                return list(found.values())
        raise AssertionError("the watch has ended")

    async def nodes(self, *names: str) -> None:
        for name in names:
            status = {"conditions": [{"type": "Ready", "status": "True"}]}
            await self.client.create(NODES, {"metadata": {"name": name}, "status": status})

    async def deploy(self, name: str, replicas: int, **spec: Any) -> None:
        labels = {"app": name}
        container = {"name": "c", "image": "v1", "ports": [{"name": "http", "containerPort": 8080}]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        document = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
        }
        await self.client.create(DEPLOYMENTS, document)

    async def expose(self, name: str) -> None:
        spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]}
        await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})

    async def pods(self, count: int) -> list[Pod]:
        """Wait until there are so many pods, all with a node, and none on its way out."""
        return await self.until(
            PODS,
            lambda pods: len(pods) == count and all(pod.spec.node_name and not pod.terminating for pod in pods),
        )

    async def answering(self, pods: list[Pod]) -> None:
        """Be the kubelet: the pods have addresses and are ready."""
        for number, pod in enumerate(pods):
            address = f"10.244.{number // 250}.{number % 250 + 1}"
            status = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
            }
            await self.client.patch_status(PODS, pod.metadata.name, {"status": status}, "default")

    async def endpoints(self, service: str, count: int) -> list[Endpoint]:
        """Wait until so many endpoints of the Service are ready, and no others."""
        return await self.until_endpoints(
            service, lambda found: len(found) == count and all(one.ready for one in found)
        )

    async def until_endpoints(self, service: str, holds: Callable[[list[Endpoint]], bool]) -> list[Endpoint]:
        """Wait until the endpoints of the Service are as they should be; returns them."""

        def of_service(slices: list[EndpointSlice]) -> list[Endpoint]:
            return [e for one in slices if one.service_name == service for e in one.endpoints or ()]

        return of_service(await self.until(ENDPOINT_SLICES, lambda slices: holds(of_service(slices))))


@asynccontextmanager
async def world(tmp_path: Path, options: Options | None = None, clock: FakeClock | None = None) -> AsyncIterator[World]:
    app = await create_app(MemoryStorage(), Settings(data_directory=tmp_path, storage="memory"))
    collector = asyncio.create_task(Collector(app.registry).run())
    made = World(app, options, clock)
    try:
        async with asyncio.timeout(60):
            await made.start()
            yield made
    finally:
        await made.stop()
        collector.cancel()
        await asyncio.wait([collector])
