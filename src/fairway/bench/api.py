"""What the API server can do: creates, lists, patches, watches and memory, measured from outside over TLS.

::

    this process                                   fairway apiserver (a process of its own)
    16 connections ── POST, PATCH, GET ──────────▶ one core
    N watchers     ◀── lines ───────────────────── CPU seconds and memory asked of the kernel

Each figure is given twice where it matters: by the clock on the wall, which includes what this process costs, and per
second of the server's CPU time: what one core of the server can do when nobody else needs it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from fairway.bench.api_connection import AnswerError, Connection, Watcher, tls_of
from fairway.bench.api_server import Server, running
from fairway.objects.codec import Document, encode

NAMESPACE = "bench"
ENDPOINTS_A_SLICE = 10
CONNECTIONS = 16
_LISTS = 7
_HANDSHAKES = 32
_DELIVERY_SECONDS = 120
_MERGE = "application/merge-patch+json"
_SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"

Report = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is asked for: so many Services, each with a slice of ten endpoints, and so many watchers of them.

    ``patches`` are made one after the other; ``changes`` are told to every watcher.
    """

    services: int = 10_000
    watchers: int = 1_000
    patches: int = 1_000
    changes: int = 400


async def measure(shape: Shape, server_flags: Iterable[str], say: Say) -> Report:
    """Every figure, of a server started for it. Raises `AnswerError` and `ServerFailed`."""
    async with running(*server_flags) as server, AsyncExitStack() as ends:
        tls = tls_of(server.place)
        connections = [await Connection.open(server.host, server.port, tls) for _ in range(CONNECTIONS)]
        for one in connections:
            ends.push_async_callback(one.close)
        bench = _Bench(server, connections, shape)
        found: Report = {"memory_mib_empty": server.memory_mib()}
        await connections[0].call("POST", "/api/v1/namespaces", encode({"metadata": {"name": NAMESPACE}}))
        say(f"creating {shape.services} Services …")
        found["service_creates"] = await bench.fill(_SERVICES, (service(i) for i in range(shape.services)))
        say(f"creating {shape.services} EndpointSlices …")
        found["endpointslice_creates"] = await bench.fill(_SLICES, (endpointslice(i) for i in range(shape.services)))
        found["memory_mib_full"] = server.memory_mib()
        say("listing …")
        found["service_list"] = await bench.collection(_SERVICES)
        found["endpointslice_list"] = await bench.collection(_SLICES)
        say(f"patching {shape.patches} times …")
        found["service_patch"] = await bench.patch()
        say(f"watching with {shape.watchers} clients …")
        found["watch"] = await bench.fan_out(tls)
        found["memory_mib_end"] = server.memory_mib()
        return found


class _Bench:
    """The measurements of one server."""

    def __init__(self, server: Server, connections: list[Connection], shape: Shape) -> None:
        self._server = server
        self._connections = connections
        self._shape = shape

    async def fill(self, path: str, objects: Iterable[Document]) -> Report:
        """Create objects on all connections at once."""
        bodies = [encode(one) for one in objects]
        spent = await self._spend(self._on_all(bodies, lambda connection, body: connection.call("POST", path, body)))
        return _rate(len(bodies), spent, "per_second")

    async def collection(self, path: str) -> Report:
        """The whole collection, several times; the first is what a server pays that has not been asked before."""
        seconds: list[float] = []
        before = self._server.cpu_seconds()
        size = 0
        for _ in range(_LISTS):
            start = time.perf_counter()
            size = len(await self._connections[0].call("GET", path))
            seconds.append(time.perf_counter() - start)
        cpu = self._server.cpu_seconds() - before
        return {
            "objects": self._shape.services,
            "bytes": size,
            "first_ms": _ms(seconds[0]),
            "median_ms": _ms(statistics.median(seconds)),
            "least_ms": _ms(min(seconds)),
            "most_ms": _ms(max(seconds)),
            "server_cpu_ms": _ms(cpu / len(seconds)),
        }

    async def patch(self) -> Report:
        """Merge patches, one after the other on one connection."""
        seconds: list[float] = []
        for number in range(self._shape.patches):
            start = time.perf_counter()
            await self._patch(self._connections[0], number, "patch")
            seconds.append(time.perf_counter() - start)
        seconds.sort()
        return {
            "patches": len(seconds),
            "p50_ms": _ms(_quantile(seconds, 0.5)),
            "p99_ms": _ms(_quantile(seconds, 0.99)),
            "most_ms": _ms(seconds[-1]),
        }

    async def fan_out(self, tls: Any) -> Report:
        """Changes to Services, told to every watcher."""
        revision = await self._revision()
        expected = self._shape.watchers * self._shape.changes
        delivered = _Countdown(expected)
        watchers = await self._watch(f"{_SERVICES}?watch=true&resourceVersion={revision}", delivered, tls)
        try:
            changes = self._on_all(range(self._shape.changes), self._change)
            spent = await self._spend(_both(changes, delivered.wait()))
        finally:
            await asyncio.gather(*(watcher.close() for watcher in watchers))
        report = _rate(expected, spent, "events_per_second")
        return {"watchers": self._shape.watchers, "changes": self._shape.changes, **report}

    async def _watch(self, path: str, delivered: _Countdown, tls: Any) -> list[Watcher]:
        """Open the watches, some at a time: a handshake costs more than all that follows."""
        loop = asyncio.get_running_loop()
        at_once = asyncio.Semaphore(_HANDSHAKES)

        async def one() -> Watcher:
            async with at_once:
                _, watcher = await loop.create_connection(
                    lambda: Watcher(path, delivered.count), self._server.host, self._server.port, ssl=tls
                )
                await watcher.started()
                return watcher

        return await asyncio.gather(*(one() for _ in range(self._shape.watchers)))

    async def _revision(self) -> str:
        answer = await self._connections[0].call("GET", f"{_SERVICES}?limit=1")
        return answer.partition(b'"resourceVersion":"')[2].partition(b'"')[0].decode()

    async def _change(self, connection: Connection, number: int) -> bytes:
        return await self._patch(connection, number, "change")

    async def _patch(self, connection: Connection, number: int, label: str) -> bytes:
        body = encode({"metadata": {"labels": {label: f"turn-{number}"}}})
        return await connection.call("PATCH", f"{_SERVICES}/{_name(number % self._shape.services)}", body, _MERGE)

    async def _on_all(self, work: Iterable[Any], do: Callable[[Connection, Any], Awaitable[bytes]]) -> None:
        """Do all the work, with one piece at a time on each connection."""
        waiting = iter(work)

        async def on_one(connection: Connection) -> None:
            for piece in waiting:
                await do(connection, piece)

        async with asyncio.TaskGroup() as group:
            for connection in self._connections:
                group.create_task(on_one(connection))

    async def _spend(self, work: Awaitable[None]) -> _Spent:
        own, cpu, start = time.process_time(), self._server.cpu_seconds(), time.perf_counter()
        await work
        wall = time.perf_counter() - start
        return _Spent(wall, self._server.cpu_seconds() - cpu, time.process_time() - own)


class _Countdown:
    """Waits for a number of lines, whoever gets them."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._done = asyncio.Event()

    def count(self, lines: int) -> None:
        self._left -= lines
        if self._left <= 0:
            self._done.set()

    async def wait(self) -> None:
        try:
            await asyncio.wait_for(self._done.wait(), _DELIVERY_SECONDS)
        except TimeoutError:
            raise AnswerError(f"{self._left} events have not arrived within {_DELIVERY_SECONDS} s") from None


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    await asyncio.gather(one, other)


def service(number: int) -> Document:
    """A Service as a chart would write it: two ports, a selector, some labels."""
    name = _name(number)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name, "part-of": "shop", "tier": "backend"}},
        "spec": {
            "selector": {"app": name},
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"name": "metrics", "port": 9090, "targetPort": 9090},
            ],
        },
    }


def endpointslice(number: int) -> Document:
    """Ten endpoints on ten nodes, as the controller writes them."""
    name = _name(number)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-x7k2p",
            "labels": {
                "app": name,
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": list(_endpoints(name, number)),
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "metrics", "port": 9090, "protocol": "TCP"},
        ],
    }


def _endpoints(name: str, number: int) -> Iterator[Document]:
    for index in range(ENDPOINTS_A_SLICE):
        address = number * ENDPOINTS_A_SLICE + index
        yield {
            "addresses": [f"10.{128 + (address >> 16) % 64}.{address >> 8 & 255}.{address & 255}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{index}",
            "zone": f"zone-{index % 3}",
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": f"{name}-6f7d9c-{index:05}"},
        }


def _name(number: int) -> str:
    return f"service-{number:05}"


class _Spent(NamedTuple):
    """Seconds by the clock, of the server's CPU, and of this process's: the asking costs, too."""

    wall: float
    cpu: float
    own: float


def _rate(count: int, spent: _Spent, key: str) -> Report:
    wall, cpu, own = spent
    # The kernel counts CPU time in ticks of 10 ms: of a run that is shorter nothing can be said.
    return {
        "count": count,
        "seconds": round(wall, 3),
        key: round(count / wall),
        "server_cpu_seconds": round(cpu, 2),
        f"{key}_of_server_cpu": round(count / cpu) if cpu >= 0.05 else None,
        "asking_cpu_seconds": round(own, 2),
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
