"""The API server as something that runs: storage, registry, application, TLS listeners, and their orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from fairway.apiserver.access.aggregation import aggregate_roles
from fairway.apiserver.access.audit import AuditFile, AuditLog, AuditLogError
from fairway.apiserver.access.authorizer import Authorizer
from fairway.apiserver.access.escalation import Escalation
from fairway.apiserver.access.gate import Gate
from fairway.apiserver.access.jws import SigningKey, SigningKeyError
from fairway.apiserver.access.limits import Limits
from fairway.apiserver.access.reviews import Reviews
from fairway.apiserver.access.service_accounts import ServiceAccountTokens
from fairway.apiserver.access.token_file import TokenFileError, read_tokens
from fairway.apiserver.access.users import User
from fairway.apiserver.admission import Admission
from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.app import App
from fairway.apiserver.authentication import Authenticator, CertificatesAndTokens, Everybody, StaticTokens
from fairway.apiserver.bootstrap import bootstrap
from fairway.apiserver.certificates import Authority, write_private
from fairway.apiserver.collect import Collector
from fairway.apiserver.compaction import compact_periodically
from fairway.apiserver.expiry import expire_events
from fairway.apiserver.health import Health
from fairway.apiserver.kinds import standard_kinds
from fairway.apiserver.networks import NetworkKeeper, ensure_default
from fairway.apiserver.presence import Presence, Server
from fairway.apiserver.protocol import Protocol
from fairway.apiserver.registry import Registry
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.contract import Storage
from fairway.apiserver.storage.etcd import EtcdStorage
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage
from fairway.client.kubeconfig import Connection
from fairway.objects import resources
from fairway.runtime.clock import Clock, SystemClock

# Go's clients keep an idle connection for 90 seconds; closing it earlier would race with their next request.
_KEEP_ALIVE_SECONDS = 180
_STOP_SECONDS = 1
# Turns of the event loop in which a connection that was cut lets go of its socket.
_TURNS_TO_CLOSE = 20
log = logging.getLogger(__name__)
_ADMIN = ("kubernetes-admin", ("system:masters",))


class ServerError(Exception):
    """The server cannot start; the message says what is wrong and what helps."""


class _Uvicorn(uvicorn.Server):
    """A server inside somebody's program: the program handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def cut(self) -> None:
        """End the connections whose clients have not answered the farewell of TLS: some never will."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for _ in range(_TURNS_TO_CLOSE):
            if not self.server_state.connections:
                break
            await asyncio.sleep(0)


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


@dataclass(frozen=True)
class Proofs:
    """How users show who they are beside certificates: the key of ServiceAccounts' tokens, and static tokens."""

    key: SigningKey = field(default_factory=SigningKey.fresh)
    tokens: Mapping[str, User] = field(default_factory=dict)


async def create_app(
    storage: Storage,
    settings: Settings,
    *,
    proofs: Proofs | None = None,
    authenticator: Authenticator | None = None,
    audit_log: AuditLog | None = None,
    clock: Clock | None = None,
    port: int | None = None,
) -> App:
    """The ASGI application over a storage, with what every cluster has created.

    Without ``proofs`` anybody may use it, unless there is an ``authenticator``. Its roles are as they are now; run
    ``app.authorizer.follow()`` to keep up with them.
    """
    clock = clock or SystemClock()
    ranges = ranges_of(settings)
    sequential = settings.cluster_ip_allocation == "sequential"
    allocator = ServiceAllocator(ranges, random.SystemRandom().randrange, sequential=sequential)
    kinds = standard_kinds(allocator)
    authorizer = Authorizer(storage, kinds, clock)
    registry = Registry(
        storage,
        kinds,
        clock,
        reuse_after=settings.cluster_ip_reuse_after,
        admission=Admission(settings.admission_plugins, [Escalation(authorizer)]),
    )
    await registry.open()
    await ensure_default(registry, ranges)
    await bootstrap(registry, allocator.default_address, port or settings.port)
    await Presence(registry, clock, Server(settings.advertise_address, port or settings.port)).begin()
    await authorizer.load()
    given = proofs or Proofs()
    tokens, accounts = StaticTokens(given.tokens), ServiceAccountTokens(given.key, registry, clock)
    if authenticator is None:
        authenticator = CertificatesAndTokens(tokens, accounts) if proofs else Everybody()
    gate = Gate(authenticator, authorizer, Limits(settings.limits, clock))
    health = Health(storage, "etcd" if settings.etcd else settings.storage)
    return App(registry, gate, Reviews(authorizer, accounts, tokens), health, clock, audit_log)


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
            proofs = _proofs(self._settings)
            audit_log = self._open_audit_log(undo)
            self.app = await create_app(storage, self._settings, proofs=proofs, audit_log=audit_log, port=self.port)
            self._authority = authority
            tls = self._tls(authority, await _cluster_ip(self.app.registry))
            self._write_kubeconfig(authority)
            for name, work in self._works(storage):
                undo.push_async_callback(_end, _begin(name, work))
            await self._listen(tls, undo)
            presence = Presence(self.app.registry, SystemClock(), Server(self._settings.advertise_address, self.port))
            undo.push_async_callback(presence.leave)
            undo.push_async_callback(_end, _begin("presence of this server", presence.run()))
            self._ends = undo.pop_all()
        return self

    def _works(self, storage: Storage) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Everything that goes on beside the requests."""
        registry, clock = self.app.registry, SystemClock()
        yield "authorizer", self.app.authorizer.follow()
        yield "collector", Collector(registry).run()
        yield "aggregation of ClusterRoles", aggregate_roles(registry, clock)
        yield "keeper of cluster IPs", NetworkKeeper(registry, ranges_of(self._settings), clock).run()
        yield "compaction", compact_periodically(storage, clock)
        yield "expiry of Events", expire_events(registry, clock, self._settings.event_ttl)

    async def __aexit__(self, *_: object) -> None:
        await self._ends.aclose()

    def connection(self, user: str, *groups: str) -> Connection:
        """How somebody else than the administrator reaches this server: with a new certificate of their own.

        Raises `ServerError` for a name that no certificate can hold.
        """
        try:
            identity = self._authority.client(user, groups)
        except ValueError:
            raise ServerError(f"no certificate can be made for {user!r}: it takes 1 to 64 characters") from None
        return Connection(self.url, self._authority.certificate, identity.certificate, identity.key)

    def _open_audit_log(self, undo: contextlib.AsyncExitStack) -> AuditLog | None:
        if not self._settings.audit_log:
            return None
        try:
            file = AuditFile(self._settings.audit_log, self._settings.audit_log_bytes)
        except AuditLogError as error:
            raise ServerError(str(error)) from None
        audit_log = AuditLog(file)
        undo.push_async_callback(_end, _begin("audit log", audit_log.run()))
        return audit_log

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
            http=Protocol,
            # Whoever connects is who they are: no header of theirs says otherwise.
            proxy_headers=False,
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
            await server.cut()

        undo.push_async_callback(stop)
        while not server.started and not serving.done():
            await asyncio.sleep(0.001)


def _proofs(settings: Settings) -> Proofs:
    try:
        tokens = read_tokens(settings.token_file) if settings.token_file else {}
        return Proofs(SigningKey.open(settings.data_directory / "pki" / "sa.key"), tokens)
    except (TokenFileError, SigningKeyError) as error:
        raise ServerError(str(error)) from None


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
