"""Stand-in servers: every port of a pod answers with the pod's own name.

All of them run in one process and one event loop, hundreds of pods at once: a socket stays in the network namespace
in which it was opened, whoever reads it.

    HTTP  GET /cart   →  200, a short page: pod, node, who asked, what for (JSON if the client accepts only that)
    TCP   connect     →  "cart-6f7d 10.244.1.7:40112\\n", then every line comes back
    UDP   datagram    →  "statsd-0 10.244.1.7:40112\\n"
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import httptools
import msgspec

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.errors import LabError
from fairway.lab.ports import ServedPort

_BACKLOG = 1024
_LONGEST_TARGET = 4096
_SCTP = 132

Address = tuple[str, int]


def shown(client: Address) -> str:
    """``10.244.1.7:40112``, ``[fd00:10:244:1::7]:40112``."""
    return f"[{client[0]}]:{client[1]}" if ":" in client[0] else f"{client[0]}:{client[1]}"


@dataclass(frozen=True)
class Identity:
    """Who answers."""

    pod: str
    namespace: str
    node: str
    address: str

    def line(self, client: Address) -> bytes:
        return f"{self.pod} {shown(client)}\n".encode()


class StandIn:
    """The servers of one pod; close it to stop listening and to end its connections."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._connections: set[asyncio.Transport] = set()

    async def start(self, ports: tuple[ServedPort, ...], namespace: NetworkNamespace, *, host: str = "") -> None:
        """Listen on every port inside the namespace; ``host``: only on that address (default: on all of IPv4).

        Raises `LabError` naming the port that cannot be opened; then none is left open.
        """
        loop = asyncio.get_running_loop()
        sockets = namespace.run(lambda: open_sockets(ports, host)) if ports else []
        for port, opened in zip(ports, sockets, strict=True):
            if port.protocol == "UDP":
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self.identity), sock=opened)
                self._datagrams.append(transport)
            else:
                protocol = _Http if port.language == "http" else _Lines
                server = await loop.create_server(
                    lambda protocol=protocol: protocol(self.identity, self._connections),  # type: ignore[misc]
                    sock=opened,
                    backlog=_BACKLOG,
                )
                self._servers.append(server)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for datagrams in self._datagrams:
            datagrams.close()
        for connection in list(self._connections):
            connection.abort()
        # Closing a transport takes one turn of the loop; only then the file descriptor is free.
        await asyncio.sleep(0)
        self._servers.clear()
        self._datagrams.clear()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)


def open_sockets(ports: tuple[ServedPort, ...], host: str = "") -> list[socket.socket]:
    """A bound socket for each port, in the namespace of the calling thread; raises `LabError`."""
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(port, host)) for port in ports]
        stack.pop_all()
        return opened


def _open(port: ServedPort, host: str) -> socket.socket:
    kind = socket.SOCK_DGRAM if port.protocol == "UDP" else socket.SOCK_STREAM
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK, _SCTP if port.protocol == "SCTP" else 0)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            raise LabError(f"port {port.number}/{port.protocol}: this kernel has no {port.protocol} sockets") from None
        raise
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port.number))
    except OSError as error:
        made.close()
        raise LabError(f"port {port.number}/{port.protocol}: {error.strerror}") from None
    return made


class _Connection(asyncio.Protocol):
    """What both stream servers share: they know who they are, and who is connected."""

    def __init__(self, identity: Identity, connections: set[asyncio.Transport]) -> None:
        self.identity = identity
        self._connections = connections
        self.client: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connections.add(self.transport)
        # None when the client has gone already
        self.client = (self.transport.get_extra_info("peername") or ("?", 0))[:2]

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self.transport)

    def pause_writing(self) -> None:
        """A client that does not read what it asked for gets no more of it."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class _Lines(_Connection):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self.identity.line(self.client))

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Http(_Connection):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.transport.close()  # the request has been answered; another protocol is not spoken here
        except httptools.HttpParserError as error:
            self._answer("400 Bad Request", "text/plain", f"{error}\n".encode(), keep=False)

    # Called by the parser

    def on_message_begin(self) -> None:
        self._target = b""
        self._wants_json = False

    def on_url(self, url: bytes) -> None:
        self._target = (self._target + url)[:_LONGEST_TARGET]

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"accept":
            self._wants_json = value.startswith(b"application/json")

    def on_message_complete(self) -> None:
        who = self.identity
        page = {
            "pod": who.pod,
            "namespace": who.namespace,
            "node": who.node,
            "address": who.address,
            "client": shown(self.client),
            "method": self._parser.get_method().decode(errors="replace"),
            "path": self._target.decode(errors="replace"),
        }
        kind = "application/json" if self._wants_json else "text/plain; charset=utf-8"
        text = "".join(f"{key}: {value}\n" for key, value in page.items()).encode()
        body = msgspec.json.encode(page) + b"\n" if self._wants_json else text
        self._answer("200 OK", kind, body, keep=self._parser.should_keep_alive())

    def _answer(self, status: str, kind: str, body: bytes, *, keep: bool) -> None:
        connection = "keep-alive" if keep else "close"
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: {connection}"
        head = f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n"
        is_head = self._parser.get_method() == b"HEAD"
        self.transport.write(head.encode() + (b"" if is_head else body))
        if not keep:
            self.transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.transport.sendto(self.identity.line(addr[:2]), addr)
