"""The API server as something that runs: storage, registry, application, TLS listeners, and their orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.app import App
from fairway.apiserver.authentication import Authenticator, CertificatesAndTokens, Everybody
from fairway.apiserver.bootstrap import bootstrap
from fairway.apiserver.certificates import Authority, write_private
from fairway.apiserver.collect import Collector
from fairway.apiserver.compaction import compact_periodically
from fairway.apiserver.kinds import standard_kinds
from fairway.apiserver.networks import NetworkKeeper, ensure_default
from fairway.apiserver.registry import Registry
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.contract import Storage
from fairway.apiserver.storage.etcd import EtcdStorage
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage
from fairway.objects import resources
from fairway.runtime.clock import Clock, SystemClock

# Go's clients keep an idle connection for 90 seconds; closing it earlier would race with their next request.
_KEEP_ALIVE_SECONDS = 180
_STOP_SECONDS = 1
log = logging.getLogger(__name__)
_ADMIN = ("kubernetes-admin", ("system:masters",))


class ServerError(Exception):
    """The server cannot start; the message says what is wrong and what helps."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application whose certificate the client showed."""

    _peer: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._peer = tls.getpeercert() if tls else None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["fairway.peer"] = self._peer  # type: ignore[typeddict-unknown-key]


class _Uvicorn(uvicorn.Server):
    """A server inside somebody's program: the program handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def opened_storage(settings: Settings) -> AsyncIterator[Storage]:
    """The storage that the settings name, closed in the end; raises `StorageError`."""
    if settings.etcd is not None:
        remote = await EtcdStorage.open(settings.etcd)
        try:
            yield remote
        finally:
            await remote.aclose()
        return
    local: Storage
    if settings.storage == "memory":
        # Later than any revision of an earlier life, so that a client that kept one is told to list again.
        local = MemoryStorage(revision=time.time_ns() // 1_000_000)
    else:
        local = SqliteStorage(settings.data_directory / "state.db")
    with contextlib.closing(local):
        yield local


def ranges_of(settings: Settings) -> Ranges:
    """The addresses and ports for Services; raises `ServerError` for ranges that are none."""
    try:
        return Ranges.parse(settings.service_ranges, settings.node_ports)
    except ValueError as error:
        raise ServerError(str(error)) from None


async def create_app(
    storage: Storage,
    settings: Settings,
    *,
    authenticator: Authenticator | None = None,
    clock: Clock | None = None,
    port: int | None = None,
) -> App:
    """The ASGI application over a storage, with what every cluster has created; anybody may use it by default."""
    clock = clock or SystemClock()
    ranges = ranges_of(settings)
    sequential = settings.cluster_ip_allocation == "sequential"
    allocator = ServiceAllocator(ranges, random.SystemRandom().randrange, sequential=sequential)
    registry = Registry(storage, standard_kinds(allocator), clock, reuse_after=settings.cluster_ip_reuse_after)
    await registry.open()
    await ensure_default(registry, ranges)
    await bootstrap(registry, allocator.default_address, settings.advertise_address, port or settings.port)
    return App(registry, authenticator or Everybody(), clock)


async def _cluster_ip(registry: Registry) -> str:
    """Where pods reach the API."""
    service = await registry.get(registry.kinds[resources.SERVICES], "default", "kubernetes")
    return str(service.document()["spec"]["clusterIP"])


class ApiServer:
    """One API server over TLS. ``async with`` it: inside, it answers; after, everything is closed.

    ``sockets`` are listening sockets that somebody bound; without them it binds the address of the settings. Raises
    `ServerError`, `StorageError` and `CertificateError` when it cannot start.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket] = ()) -> None:
        self._settings = settings
        self._sockets = list(sockets)
        self._ends = contextlib.AsyncExitStack()

    @property
    def port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where it answers, as kubeconfigs write it."""
        host = self._sockets[0].getsockname()[0]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"https://[{host}]:{self.port}" if ":" in host else f"https://{host}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        return self._settings.data_directory / "admin.conf"

    async def __aenter__(self) -> ApiServer:
        async with contextlib.AsyncExitStack() as undo:
            self._make_directory()
            storage = await undo.enter_async_context(opened_storage(self._settings))
            if not self._sockets:
                self._sockets = [_bind(self._settings.bind_address, self._settings.port)]
            for listener in self._sockets:
                undo.callback(listener.close)
            authority = Authority(self._settings.data_directory / "pki")
            self.app = await create_app(
                storage, self._settings, authenticator=CertificatesAndTokens({}), port=self.port
            )
            tls = self._tls(authority, await _cluster_ip(self.app.registry))
            self._write_kubeconfig(authority)
            undo.push_async_callback(_end, _begin("collector", Collector(self.app.registry).run()))
            keeper = NetworkKeeper(self.app.registry, ranges_of(self._settings), SystemClock())
            undo.push_async_callback(_end, _begin("keeper of cluster IPs", keeper.run()))
            undo.push_async_callback(_end, _begin("compaction", compact_periodically(storage, SystemClock())))
            await self._listen(tls, undo)
            self._ends = undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ends.aclose()

    def _make_directory(self) -> None:
        directory = self._settings.data_directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"cannot use the data directory {directory}: {error.strerror}") from None

    def _tls(self, authority: Authority, cluster_ip: str) -> dict[str, Any]:
        settings = self._settings
        hosts = {listener.getsockname()[0] for listener in self._sockets} - {"0.0.0.0", "::"}
        certificate, key = authority.server(
            {
                "localhost",
                "127.0.0.1",
                "::1",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                cluster_ip,
                settings.advertise_address,
                *hosts,
                *settings.names,
            }
        )
        return {
            "ssl_certfile": str(certificate),
            "ssl_keyfile": str(key),
            "ssl_ca_certs": str(authority.certificate_path),
            "ssl_cert_reqs": ssl.CERT_OPTIONAL,
        }

    def _write_kubeconfig(self, authority: Authority) -> None:
        try:
            write_private(self.kubeconfig, authority.kubeconfig(self.url, authority.client(*_ADMIN)))
        except OSError as error:
            raise ServerError(f"cannot write {self.kubeconfig}: {error.strerror}") from None

    async def _listen(self, tls: dict[str, Any], undo: contextlib.AsyncExitStack) -> None:
        config = uvicorn.Config(
            self.app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
            **tls,
        )
        server = _Uvicorn(config)
        serving = asyncio.create_task(server.serve(sockets=self._sockets))

        async def stop() -> None:
            self.app.stop()
            server.should_exit = True
            await serving

        undo.push_async_callback(stop)
        while not server.started and not serving.done():
            await asyncio.sleep(0.001)


def _begin(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task beside the server; that it failed is said at once, not when the server ends."""
    task = asyncio.create_task(work, name=name)

    def report(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()):
            log.error("the %s has stopped: %s", name, error, exc_info=error)

    task.add_done_callback(report)
    return task


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _bind(address: str, port: int) -> socket.socket:
    """A listening socket; raises `ServerError` when the address is in use or not ours."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"cannot listen on {address} port {port}: {error.strerror}; try another --bind-address or --secure-port"
        ) from None
    return listener
