"""One namespace with a relay, its carrier's rules, and backends that do as they are told."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from fairway import __version__
from fairway.kernel.contract import Opened
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nftables_mode import open_nftables
from fairway.model.view import (
    ROUND_ROBIN,
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Relaying,
)
from fairway.relay.accesslog import Line
from fairway.relay.certificates import Certificates
from fairway.relay.kernel import add_addresses, relaying
from fairway.relay.process import RelayProcess
from fairway.relay.relay import Relay

VIP, SERVICE = "10.96.0.1", Key("shop", "web")
ONE, TWO, NOBODY = "10.244.0.1", "10.244.0.2", "10.244.0.3"
PATIENCE = 30.0
GREETING = b"here I am"
PLAIN = Relaying()
RelayT = TypeVar("RelayT", Relay, RelayProcess)
_FORWARD = Action(kind=ActionKind.FORWARD, masquerade=True)


def backends(*addresses: str) -> tuple[Backend, ...]:
    return tuple(Backend(address=one, port=8080) for one in addresses)


def frontend(*addresses: str, protocol: str = "TCP", relaying: Relaying = PLAIN, **more: object) -> Frontend:
    made = Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=VIP,
        protocol=protocol,
        port=80,
        service=SERVICE,
        cluster=backends(*addresses),
        pod=_FORWARD,
        node=_FORWARD,
        outside=_FORWARD,
        balancing=ROUND_ROBIN,
        relaying=relaying,
    )
    return msgspec.structs.replace(made, **more)


@dataclass
class RelayWorld:
    """Everything happens in one network namespace; ``load`` says what the node should do."""

    place: NetworkNamespace
    opened: Opened
    relay: Relay | RelayProcess
    certificates: Certificates
    lines: list[Line] = field(default_factory=list)
    _heard: threading.Condition = field(default_factory=threading.Condition)

    def log(self, line: Line) -> None:
        with self._heard:
            self.lines.append(line)
            self._heard.notify_all()

    def load(self, *frontends: Frontend) -> None:
        mode, kernel = self.opened.mode, self.opened.kernel
        settings = NodeSettings(name="node-1", addresses=(ONE, TWO))
        view = NodeView(settings=settings, frontends={one.key: one for one in frontends})
        self.place.run(lambda: kernel.apply(mode.plan(kernel.read_back(), mode.program(view))))

    def connect(self, address: str = VIP, port: int = 80) -> socket.socket:
        """Raises `ConnectionResetError` when the relay was quick to refuse."""
        with ExitStack() as stack:
            sock = stack.enter_context(closing(self.place.socket()))
            sock.settimeout(PATIENCE)
            sock.connect((address, port))
            stack.pop_all()
        return sock

    def greeted(self) -> socket.socket:
        """A connection that has been led to its backend, one that `greets`: until then a change would count for it."""
        sock = self.connect()
        greeting = sock.recv(100)
        assert greeting == GREETING, greeting
        return sock

    def ask(self, words: bytes = b"hello") -> bytes:
        """What comes back on a connection of its own, until its end; raises ConnectionError when it is reset."""
        with closing(self.connect()) as sock:
            sock.sendall(words)
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                # A reset that came in the meantime has left no connection to shut down.
                raise ConnectionResetError(str(error)) from error
            return b"".join(iter(lambda: sock.recv(1 << 16), b""))

    def until_logged(self, count: int) -> list[Line]:
        """That many lines of the access log."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.lines) >= count, PATIENCE), f"only {self.lines}"
            return list(self.lines)

    def listener(self, key: FrontendKey) -> int:
        return next(one.port for listener, one in self.relay.held().items() if listener.frontend == key)


@contextmanager
def built(place: NetworkNamespace, **limits: Any) -> Iterator[RelayWorld]:
    """In a namespace that has nothing yet, with a relay inside this process; ``limits`` as in `Relay`."""
    prepare(place)
    certificates = Certificates()
    worlds: list[RelayWorld] = []

    def make() -> Relay:
        def log(line: Line) -> None:
            worlds[0].log(line)

        return Relay(contexts=certificates.context, log=log, prepare=add_addresses, **limits)

    with _opened(place, make) as (opened, relay):
        worlds.append(RelayWorld(place, opened, relay, certificates))
        yield worlds[0]


@contextmanager
def beside(place: NetworkNamespace, version: str = __version__, patience: float = PATIENCE) -> Iterator[RelayWorld]:
    """In a namespace that is prepared, with a relay that is a process of that version; it stays."""

    def make() -> RelayProcess:
        return RelayProcess(prepare=add_addresses, version=version, patience=patience)

    with _opened(place, make) as (opened, relay):
        yield RelayWorld(place, opened, relay, Certificates(relay.certificate))


def prepare(place: NetworkNamespace) -> None:
    """Addresses for backends, and a way for clients."""
    with Links(place) as links:
        links.set_up("lo")
        for address in (ONE, TWO):
            links.add_address("lo", f"{address}/32")
        links.add_route("10.96.0.0/16", link="lo")


@contextmanager
def _opened(place: NetworkNamespace, make: Callable[[], RelayT]) -> Iterator[tuple[Opened, RelayT]]:
    with ExitStack() as stack:
        carrier = open_nftables()
        opened = place.run(carrier.__enter__)
        stack.callback(lambda: place.run(lambda: carrier.__exit__(None, None, None)))
        relay = place.run(make)
        yield stack.enter_context(relaying(opened, "nftables", relay)), relay


@contextmanager
def backend(
    place: NetworkNamespace, address: str, serve: Callable[[socket.socket], None], port: int = 8080
) -> Iterator[None]:
    """A TCP server: each connection in a thread, given to ``serve``, then closed."""
    listening = place.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(1024)

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(sock, serve), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(PATIENCE)


def _serve(sock: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    # A client or a relay that goes away in the middle is for the test to judge, not for this thread.
    with closing(sock), suppress(OSError):
        sock.settimeout(PATIENCE)
        serve(sock)


def secret(certificate: bytes, key: bytes) -> dict[str, str]:
    """The ``data`` of a Secret."""
    return {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}


def says(name: bytes) -> Callable[[socket.socket], None]:
    """Reads to the end, then answers with its name and what it got."""

    def serve(sock: socket.socket) -> None:
        words = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        sock.sendall(name + b" got " + words)

    return serve


def greets(name: bytes) -> Callable[[socket.socket], None]:
    """The same, but the first word is its own."""
    serve = says(name)

    def greet(sock: socket.socket) -> None:
        sock.sendall(GREETING)
        serve(sock)

    return greet


NAMES: Mapping[str, bytes] = {ONE: b"one", TWO: b"two"}
