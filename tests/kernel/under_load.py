"""Clients that never stop: connections and flows that stay open, and new connections one after the other.

talkers     each open connection and flow, a word forth and back, in turn; what breaks is lost
chatterers  open connections that all talk at once: each has a word on its way at any moment
newcomers   a new connection every few milliseconds; when one fails, or its first packet was lost, it is noted from when
            until when
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from fairway.kernel.namespaces import NetworkNamespace

LONGEST = 10.0
"""A connection that is silent for so many seconds is lost; a lost packet is sent again much sooner."""
_TCP_INFO_BYTES = 104
_TOTAL_RETRANSMITS = struct.Struct("100xI")
_AGAIN = 0.2
_PAUSE = 0.005

Address = tuple[str, int]


@contextmanager
def echo(place: NetworkNamespace, name: str, port: int) -> Iterator[None]:
    """A server there for TCP and UDP that answers every message with its name."""
    with ExitStack() as stack:
        events = stack.enter_context(selectors.DefaultSelector())
        wake, end = (stack.enter_context(one) for one in socket.socketpair())
        listener = stack.enter_context(place.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        datagrams = stack.enter_context(place.socket(kind=socket.SOCK_DGRAM))
        for one in (listener, datagrams):
            one.bind(("0.0.0.0", port))
        listener.listen(4096)  # newcomers find room for as long as nobody gives this thread a processor
        for one in (listener, datagrams, end):
            events.register(one, selectors.EVENT_READ)
        thread = threading.Thread(target=_answer, args=(events, listener, datagrams, end, name.encode()))
        thread.start()
        try:
            yield
        finally:
            wake.send(b"x")
            thread.join()


def _answer(
    events: selectors.BaseSelector, listener: socket.socket, datagrams: socket.socket, end: socket.socket, name: bytes
) -> None:
    open_ones: set[socket.socket] = set()
    while True:
        for ready in (key.fileobj for key, _ in events.select()):
            assert isinstance(ready, socket.socket)
            if ready is end:
                for one in open_ones:
                    one.close()
                return
            if ready is listener:
                accepted, _ = listener.accept()
                open_ones.add(accepted)
                events.register(accepted, selectors.EVENT_READ)
            elif ready is datagrams:
                datagrams.sendto(name, datagrams.recvfrom(64)[1])
            elif not _echoed(ready, name):
                events.unregister(ready)
                open_ones.discard(ready)
                ready.close()


def _echoed(connection: socket.socket, name: bytes) -> bool:
    try:
        if said := connection.recv(64):
            connection.sendall(name)
    except OSError:
        return False
    return bool(said)


@dataclass
class Load:
    """Open ones to both addresses, and newcomers to the first, from ``__enter__`` to ``__exit__``.

    ``chatty``: the connections talk all at once, instead of in turn. ``lost`` says what broke; ``failed`` from when
    until when a newcomer failed, by a monotonic clock, and how.
    """

    place: NetworkNamespace
    tcp: Address
    udp: Address
    connections: int = 20
    flows: int = 5
    chatty: bool = False
    lost: list[str] = field(default_factory=list)
    failed: list[tuple[float, float, str]] = field(default_factory=list)
    words: Counter[socket.socket] = field(default_factory=Counter)
    """How often each has been answered."""
    arrived: int = 0
    between_words: threading.Lock = field(default_factory=threading.Lock)
    """Who holds it knows that no answer is on its way: one from a backend's own address would end its connection."""
    _partners: dict[socket.socket, bytes] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _stack: ExitStack = field(default_factory=ExitStack)
    _progress: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Load:
        self._open = [self._connected(socket.SOCK_STREAM, self.tcp) for _ in range(self.connections)]
        self._loose = [self._connected(socket.SOCK_DGRAM, self.udp) for _ in range(self.flows)]
        works = [self._talk, self._come, *([self._chatter] if self.chatty else [])]
        self._threads = [threading.Thread(target=work) for work in works]
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()
        self._stack.close()

    def go_round(self) -> None:
        """Wait until every open one has said something that was answered, begun after now."""
        everyone = (*self._open, *self._loose)
        with self._progress:
            before = self.words.copy()
            assert self._progress.wait_for(
                lambda: self.lost or all(self.words[one] >= before[one] + 2 for one in everyone), 3 * LONGEST
            ), "nobody says a word"

    def _connected(self, kind: int, address: Address) -> socket.socket:
        made = self._stack.enter_context(self.place.socket(kind=kind))
        made.settimeout(LONGEST if kind == socket.SOCK_STREAM else _AGAIN)
        made.connect(address)
        return made

    def _talk(self) -> None:
        in_turn = self._loose if self.chatty else [*self._open, *self._loose]
        while not self._stop.wait(_PAUSE) and not self.lost:
            for one in in_turn:
                try:
                    with self.between_words:
                        said = self._word(one)
                        if one in self._open:
                            # Or the kernel would acknowledge the answer with the next word, or 40 ms from now.
                            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                except OSError as error:
                    self.lost.append(f"{'connection' if one in self._open else 'flow'}: {error}")
                    break
                self._heard(one, said)

    def _chatter(self) -> None:
        with selectors.DefaultSelector() as answers:
            for one in self._open:
                answers.register(one, selectors.EVENT_READ)
                one.sendall(b"hello")
            last = dict.fromkeys(self._open, time.monotonic())
            while not self._stop.is_set() and not self.lost:
                try:
                    for key, _ in answers.select(_AGAIN):
                        one = next(one for one in self._open if one is key.fileobj)
                        self._heard(one, one.recv(64))
                        one.sendall(b"hello")
                        last[one] = time.monotonic()
                except OSError as error:
                    self.lost.append(f"connection: {error}")
                if time.monotonic() - min(last.values()) > LONGEST:
                    self.lost.append("connection: it has fallen silent")

    def _heard(self, one: socket.socket, said: bytes) -> None:
        partner = self._partners.setdefault(one, said)
        if not said or partner != said:
            self.lost.append(f"answered by {said!r} instead of {partner!r}")
        with self._progress:
            self.words[one] += 1
            self._progress.notify_all()

    def _word(self, one: socket.socket) -> bytes:
        """What is answered; a datagram that is lost on its way is sent again, as every client of UDP does."""
        if one in self._open:
            one.sendall(b"hello")
            return one.recv(64)
        until = time.monotonic() + LONGEST
        while True:
            try:
                one.send(b"hello")
                return one.recv(64)
            except OSError:
                if time.monotonic() > until:
                    raise
                self._stop.wait(_PAUSE)

    def _come(self) -> None:
        while not self._stop.wait(_PAUSE):
            started = time.monotonic()
            with self.place.socket() as made:
                made.settimeout(LONGEST)
                try:
                    made.connect(self.tcp)
                except OSError as error:
                    self.failed.append((started, time.monotonic(), str(error)))
                    continue
                self.arrived += 1
                if asked := sent_again(made):
                    self.failed.append((started, time.monotonic(), f"it had to ask {asked + 1} times"))


def sent_again(connection: socket.socket) -> int:
    """How many packets the kernel has sent again on it: of a connection that has just been made, those that asked."""
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return int(_TOTAL_RETRANSMITS.unpack(told)[0])
