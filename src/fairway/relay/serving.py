"""Listeners at work: who comes in over TCP is admitted, led to a backend that answers, and joined with it.

accept ──▶ limits ──▶ TLS ──▶ pick, connect (next one when it does not answer) ──▶ PROXY header ──▶ join ──▶ log
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from msgspec import structs

from fairway.model.view import Backend, Key
from fairway.modes.userspace import Listening
from fairway.relay.accesslog import Line
from fairway.relay.balance import Address, Balancer
from fairway.relay.limits import Limits
from fairway.relay.proxyprotocol import header
from fairway.relay.streams import CHUNK, Keepalive, Stream, Timeouts, refuse, reset
from fairway.runtime.clock import Clock, rfc3339_micro

DIAL_SECONDS = (0.25, 0.5, 1.0, 2.0)
"""How long each backend that is tried may take to answer, as in the reference's userspace proxy (section 4.6)."""
BREATH_SECONDS = 0.5
"""After the machine had no file descriptor to spare."""
QUIET_SECONDS = 60.0
_OWN_DESCRIPTORS = 64
"""Of the process itself, with room for a proxy's sockets that are on their way."""
_ACCEPTED_AT_ONCE = 64
_DIALED_AT_ONCE = 128
"""By one listener: when thousands come at once, the others wait, or this process would be too slow to see in time that
their backends have answered."""
_SO_ORIGINAL_DST = 80
_IPV4, _IPV6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xHI16s4x")


@dataclass
class Shared:
    """What all listeners of a relay have in common."""

    clock: Clock
    draw: Callable[[int], int]
    log: Callable[[Line], None]
    contexts: Callable[[Key], ssl.SSLContext | None]
    """The TLS side of a Secret; None while there is none that can be used."""
    counts: dict[str, int] = field(default_factory=dict)
    """How connections ended, by the word of the access log, since the start."""
    limits: dict[Key, Limits] = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(CHUNK)))
    handshake_seconds: float = 10.0
    """How long a client may take for TLS."""
    keepalive: Keepalive = field(default_factory=Keepalive)
    descriptors: int = field(default_factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """How many files and sockets this process may have open."""
    listeners: int = 0
    most_flows: int = 16_384
    """UDP flows at one time, each with a socket: whoever forges senders must not take all descriptors."""
    complain: Callable[[str], None] = lambda sentence: None
    open: int = 0
    """Connections and UDP flows at this moment."""
    _quiet_until: float = 0.0

    def limits_of(self, service: Key) -> Limits:
        return self.limits.setdefault(service, Limits())

    @property
    def is_full(self) -> bool:
        """Whether there are no two file descriptors left for one more connection."""
        flows = self.open - len(self.connections)
        return self.listeners + flows + 2 * (len(self.connections) + 1) > self.descriptors - _OWN_DESCRIPTORS

    def full(self, why: str) -> None:
        """Told once a minute at most."""
        now = self.clock.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            self.complain(f"newcomers wait until somebody leaves: {why}, with {self.open} connections and flows")

    def ended(self, end: str) -> None:
        self.counts[end] = self.counts.get(end, 0) + 1


class Connection:
    """One TCP client, from accept to the line in the log."""

    def __init__(self, listener: StreamListener, sock: socket.socket, client: Address, destination: Address) -> None:
        self._listener, self._sock = listener, sock
        self._shared = listener.shared
        self.listening = listener.listening
        self.client, self._destination = client, destination
        self._began = self._shared.clock.monotonic()
        self._at = self._shared.clock.now()
        self._stream = Stream(self._shared.buffer, self._finished, self._timeouts())
        self._backend: Backend | None = None
        self._attempts = 0
        self._connect_seconds = 0.0
        self._tls = ""

    async def serve(self) -> None:
        """Until both sides flow, or it is over."""
        try:
            await self._meet()
        except (OSError, ssl.SSLError) as error:
            self._sock.close()
            self._give_up(f"failed: {_reason(error)}")

    async def _meet(self) -> None:
        tls = self.listening.relaying.tls
        context = self._shared.contexts(tls) if tls else None
        if tls and context is None:
            refuse(self._sock)
            self._give_up(f"refused: no usable Secret {tls}")
            return
        loop = asyncio.get_running_loop()
        timeout = self._shared.handshake_seconds if context else None
        transport, _ = await loop.connect_accepted_socket(
            lambda: self._stream.client, self._sock, ssl=context, ssl_handshake_timeout=timeout
        )
        if context is not None:
            self._tls = transport.get_extra_info("ssl_object").version() or ""
        if await self._reach():
            self._stream.join()
        elif self._stream.client.lost:
            self._stream.stop("client closed")
        else:
            reset(transport)

    async def _reach(self) -> bool:
        """Whether some backend has answered."""
        began = self._shared.clock.monotonic()
        tried: list[Address] = []
        for seconds in DIAL_SECONDS:
            balancer = self._listener.balancer
            # When all have been tried, the same again, with more patience.
            backend = balancer.pick(self.client[0], began, tried) or balancer.pick(self.client[0], began)
            if backend is None or self._stream.client.lost:
                break
            self._attempts += 1
            tried.append((backend.address, backend.port))
            self._listener.balancer.begin(backend)
            answered = await self._dial(backend, seconds)
            if not answered or self._stream.client.lost:
                self._listener.balancer.end(backend)
            else:
                self._backend = backend
                now = self._shared.clock.monotonic()
                self._connect_seconds = now - began
                self._listener.balancer.connected(self.client[0], backend, now)
                return True
        if not self._stream.client.lost:
            self._stream.end = "refused: no backend answered"
        return False

    async def _dial(self, backend: Backend, seconds: float) -> bool:
        async with self._listener.dialing:
            half = self._stream.new_backend()
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(seconds):
                    transport, _ = await loop.create_connection(lambda: half, backend.address, backend.port)
            except (OSError, TimeoutError):
                self._stream.forget_backend()
                return False
        if version := self.listening.relaying.proxy_protocol:
            transport.write(header(version, self.client, self._destination))
        return True

    def is_astray(self, listener: StreamListener, there: Collection[Address]) -> bool:
        """Whether it came by this listener and has a backend that is none of these."""
        backend = self._backend
        return self._listener is listener and backend is not None and (backend.address, backend.port) not in there

    def stop(self, why: str) -> None:
        """End it now, whatever waits."""
        self._stream.stop(why)

    @property
    def waiting(self) -> int:
        """Bytes that have come in and not gone out."""
        return self._stream.waiting

    def _timeouts(self) -> Timeouts:
        asked, own = self.listening.relaying, Timeouts(keepalive=self._shared.keepalive)
        return own._replace(idle=asked.idle, half_closed=asked.half_closed or own.half_closed)

    def _give_up(self, end: str) -> None:
        self._stream.end = end
        self._stream.finish()

    def _finished(self, end: str) -> None:
        now = self._shared.clock.monotonic()
        stream = self._stream
        if self._backend is not None:
            self._listener.balancer.left(self.client[0], self._backend, now)
        self._listener.ended(self, end)
        if self.listening.relaying.access_log:
            ended = structs.replace(
                begun(self.listening, self.client, self._at),
                backend=str(self._backend or ""),
                received=stream.client.received,
                sent=stream.backend.received if stream.backend else 0,
                seconds=round(now - self._began, 6),
                connect_seconds=round(self._connect_seconds, 6),
                attempts=self._attempts,
                tls=self._tls,
                end=end,
            )
            self._shared.log(ended)


class StreamListener:
    """A TCP listener, from `start` to `close`. Connections outlive it."""

    def __init__(self, sock: socket.socket, shared: Shared) -> None:
        self._sock = sock
        self.shared = shared
        self.balancer = Balancer(shared.draw)
        self.listening: Listening
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = False
        self.dialing = asyncio.Semaphore(_DIALED_AT_ONCE)

    def put(self, listening: Listening) -> None:
        """What counts from now on, for new connections."""
        self.listening = listening
        self.balancer.put(listening.backends, listening.balancing, listening.affinity_seconds)
        if listening.cuts:
            self._cut({(one.address, one.port) for one in listening.backends})
        self._listen()

    def leave(self) -> None:
        """The rules lead nobody here any more; who waits already is taken up, and who is on the way until `close`."""
        self._accept()

    is_needed = False
    """Whether connections end when this is closed."""

    def close(self) -> None:
        """Nobody new; who is there stays."""
        self._pause()
        self._sock.close()

    def _cut(self, there: Collection[Address]) -> None:
        if all(one in there for one in self.balancer.active):
            return
        for connection in list(self.shared.connections):
            if connection.is_astray(self, there):
                connection.stop("backend left")

    def ended(self, connection: Connection, end: str) -> None:
        self.shared.connections.discard(connection)
        self.shared.open -= 1
        self.shared.limits_of(connection.listening.service).leave(connection.client[0])
        self.shared.ended(end)

    def _listen(self) -> None:
        if not self._reading and self._sock.fileno() >= 0:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._accept)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self.shared.is_full:
                self._wait(f"no more than {self.shared.descriptors} file descriptors")
                return
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait(error.strerror or str(error))
                return
            self._take(sock, (peer[0], peer[1]))

    def _wait(self, why: str) -> None:
        """Who is in the backlog is served when somebody else has left."""
        self.shared.full(why)
        self._pause()
        asyncio.get_running_loop().call_later(BREATH_SECONDS, self._listen)

    def _take(self, sock: socket.socket, client: Address) -> None:
        sock.setblocking(False)
        destination = original_destination(sock)
        if destination is None or destination == sock.getsockname()[:2]:
            # Straight to the listener, past the rules that say who may.
            refuse(sock)
            self.shared.ended("refused: not by way of the Service")
            return
        connection = Connection(self, sock, client, destination)
        limits = self.shared.limits_of(self.listening.service)
        if reason := limits.admit(client[0], self.listening.relaying, self.shared.clock.monotonic()):
            refuse(sock)
            self._refused(client, reason)
            return
        self.shared.open += 1
        self.shared.connections.add(connection)
        task = asyncio.get_running_loop().create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refused(self, client: Address, reason: str) -> None:
        end = f"refused: {reason}"
        self.shared.ended(end)
        if self.listening.relaying.access_log:
            self.shared.log(structs.replace(begun(self.listening, client, self.shared.clock.now()), end=end))


def begun(listening: Listening, client: Address, at: float) -> Line:
    """The line of a connection that has just come; ``at`` is wall-clock time."""
    host = f"[{client[0]}]" if ":" in client[0] else client[0]
    return Line(
        time=rfc3339_micro(at),
        service=listening.service_port,
        frontend=str(listening.key.frontend),
        protocol=listening.protocol,
        client=f"{host}:{client[1]}",
    )


def original_destination(sock: socket.socket) -> Address | None:
    """Where the client wanted to go, before the kernel rewrote it; None when the kernel does not know."""
    try:
        if sock.family == socket.AF_INET6:
            data = sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _IPV6.size)
            port, _, address = _IPV6.unpack(data)
            return socket.inet_ntop(socket.AF_INET6, address), port
        data = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _IPV4.size)
        port, address = _IPV4.unpack(data)
        return socket.inet_ntop(socket.AF_INET, address), port
    except OSError:
        return None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'handshake').lower().replace('_', ' ')}"
    if isinstance(error, ConnectionAbortedError) and error.errno is None:
        return "TLS handshake took too long"  # asyncio's own, in its own words
    return error.strerror or str(error) or "TLS handshake was broken off"
