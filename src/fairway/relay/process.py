"""The relay's process as its proxy sees it: found or started, told what to do, and left behind when the proxy ends.

    a relay of this version is there ──▶ taken over with its listeners and connections
    one of another version           ──▶ stays until the rules lead to the new one, then drains
    none, or it has ended            ──▶ started when the first listener is put; lost ports are taken again

Everything happens in the network namespace of the calling thread.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from fairway import __version__
from fairway.model.view import Key
from fairway.modes.userspace.program import ListenerKey, Listening
from fairway.relay.control import (
    MOST_DOORS,
    NAMES,
    AnswerT,
    Ask,
    Certificate,
    Channel,
    Close,
    Done,
    Drain,
    Figures,
    Hello,
    Hold,
    Holding,
    Put,
    Request,
    Settle,
    Stop,
    Welcome,
    peer_of,
)
from fairway.relay.doors import bound
from fairway.relay.engine import Left, raise_descriptor_limit

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
START_SECONDS = 60.0
"""A quarter of a second of a processor, which may be a while on a machine that has none to spare."""
_END_SECONDS = 5.0
_WAITING = 8
_OUTPUT = (1, 2)
_DOOR = 3
_NOBODY = Welcome("", 0, draining=False)


class RelayProcess:
    """Its methods may be called in any thread; those that raise, raise OSError."""

    def __init__(
        self,
        *,
        access_log: str = "-",
        prepare: Callable[[], None] = lambda: None,
        version: str = __version__,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """``prepare`` is called before the first listener is made; ``patience`` is how long an answer may take."""
        self._patience = patience
        self._access_log, self._prepare, self._version = access_log, prepare, version
        self._prepared = self._looked = False
        self._lock = threading.RLock()
        self._channel: Channel | None = None
        self._peer = _NOBODY
        self._child = 0
        self._predecessors: list[Channel] = []
        self._held: dict[ListenerKey, Listening] = {}
        self._doors: dict[ListenerKey, socket.socket] = {}
        self._ports: dict[ListenerKey, int] = {}
        self._secrets: dict[Key, Mapping[str, str]] = {}
        self._figures = Figures()
        self._lost: list[str] = []
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ends = select.epoll()
        self._ends.register(self._alarm, select.EPOLLIN)

    @property
    def process(self) -> int:
        """Its id; 0 when there is none."""
        return self._peer.process

    def reserve(self, key: ListenerKey) -> int:
        """The port of a listener, which nobody else gets from now on."""
        with self._lock:
            self._look()
            port = self._ports.get(key)
            if port is None:
                if not self._prepared:
                    self._prepare()
                    raise_descriptor_limit()
                    self._prepared = True
                door = self._doors[key] = bound(key)
                port = self._ports[key] = int(door.getsockname()[1])
            return port

    def port(self, key: ListenerKey) -> int:
        """Where a listener is; 0 when there is none."""
        return self._ports.get(key, 0)

    def put(self, wanted: Iterable[Listening]) -> None:
        """Listeners that are new, or do something else from now on."""
        found = list(wanted)
        with self._lock:
            for start in range(0, len(found), MOST_DOORS):
                self._put(found[start : start + MOST_DOORS])

    def close(self, keys: Iterable[ListenerKey]) -> None:
        """Nobody comes to these any more."""
        gone = tuple(keys)
        with self._lock:
            for key in gone:
                self._ports.pop(key, None)
                if door := self._doors.pop(key, None):
                    door.close()
            there = tuple(key for key in gone if self._held.pop(key, None))
            if there and self._channel:
                self._ask(Close(there), Done)

    def held(self) -> dict[ListenerKey, Listening]:
        """What the listeners do now."""
        with self._lock:
            self._look()
            return dict(self._held)

    def certificate(self, secret: Key, data: Mapping[str, str] | None) -> None:
        """What TLS ends with from now on; None: with nothing. Does not raise: the next process is told, too."""
        with self._lock:
            if data is None:
                self._secrets.pop(secret, None)
            else:
                self._secrets[secret] = data
            try:
                if self._channel is not None:
                    self._ask(Certificate(secret, dict(data) if data is not None else None), Done)
            except OSError as error:
                log.warning("the relay was not told of Secret %s: %s", secret, error)

    def drain(self) -> Left:
        """Nobody new is taken up from now on; who is there stays. How many those are; `left` tells it later."""
        with self._lock:
            self._look()
            figures = self._ask(Drain(), Figures) if self._channel else Figures()
            self._held.clear()
            self._ports.clear()
        return Left(figures.connections, figures.flows)

    @property
    def left(self) -> Left:
        """Connections and UDP flows at this moment."""
        figures = self.figures()
        return Left(figures.connections, figures.flows)

    def figures(self) -> Figures:
        """How it goes; as it went when the relay has something else to do just now. Does not raise."""
        if self._lock.acquire(blocking=False):
            try:
                self._figures = self._ask(Ask(), Figures) if self._channel else Figures()
            except OSError as error:
                log.debug("no figures: %s", error)
            finally:
                self._lock.release()
        return self._figures

    @property
    def waiting(self) -> int:
        """Bytes of connections that have come in and not gone out."""
        return self.figures().waiting_bytes

    def counts(self) -> dict[str, int]:
        """How connections have ended so far, by the word of the access log."""
        return self.figures().ended

    def settled(self) -> None:
        """The rules lead to this relay now: those before it take up nobody any more."""
        with self._lock:
            for channel in self._predecessors:
                with suppress(OSError):  # it has ended: nobody was left
                    figures = channel.ask(Drain(), Figures)
                    log.info("an earlier relay goes on for %d connections, then ends", figures.connections)
                channel.close()
            self._predecessors.clear()

    def fileno(self) -> int:
        """Readable when the process has ended, or does not answer: then ask `others`."""
        return self._ends.fileno()

    def others(self) -> list[str]:
        """Who has taken away what is ours, since the last call: the end of the process, for whatever reason."""
        if not self._ends.poll(0):
            return []
        with self._lock:
            if self._channel is not None and self._alarm not in [one for one, _ in self._ends.poll(0)]:
                self._drop("end")
            lost, self._lost = self._lost, []
            os.eventfd_read(self._alarm)
            return lost

    def release(self) -> None:
        """Leave it to itself: whoever comes next takes it over."""
        with self._lock:
            if self._held and self._channel is not None:
                log.info("the relay (process %d) goes on without this one", self.process)
            for one in (self._channel, *self._predecessors, *self._doors.values(), self._ends):
                if one is not None:
                    one.close()
            os.close(self._alarm)
            self._channel = None

    def _put(self, wanted: Sequence[Listening]) -> None:
        if self._channel is None:
            self._start()
        new = [one for one in wanted if one.key not in self._held]
        for one in new:
            if one.key not in self._doors:
                # It had one, and has lost it with the process: rules and clients still go to that port.
                self._doors[one.key] = bound(one.key, one.port)
                self._ports[one.key] = one.port
        doors = [self._doors[one.key].fileno() for one in new]
        self._ask(Put(tuple(wanted), tuple(one.key for one in new)), Done, doors)
        for one in new:
            self._doors.pop(one.key).close()
        self._held.update((one.key, one) for one in wanted)

    def _look(self) -> None:
        """Who is there already, once."""
        if self._looked:
            return
        self._looked = True
        for sock in running():
            channel = Channel(sock, self._patience)
            try:
                peer = channel.ask(Hello(self._version), Welcome)
                if peer.version == self._version and not peer.draining and self._channel is None:
                    self._join(channel, peer)
                    self._held = {one.key: _comparable(one) for one in self._ask(Hold(), Holding).listeners}
                    self._ports = {key: one.port for key, one in self._held.items()}
                    log.info("the relay (process %d) is there, with %d listeners", peer.process, len(self._held))
                elif not peer.draining:
                    self._predecessors.append(channel)
                else:
                    channel.close()
            except OSError as error:
                channel.close()
                if self._ports:
                    # It may be ours, and nobody else can have its ports.
                    self._looked = False
                    raise TimeoutError(f"the relay does not answer ({error}); if that lasts, end its process") from None
                log.warning("a relay that was there does not answer: %s", error)

    def _start(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            name = f"\0{NAMES}{secrets.token_hex(8)}"
            door.bind(name)
            door.listen(_WAITING)
            self._child = _spawned(self._version, door.fileno())
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.connect(name)
        channel = Channel(made, START_SECONDS)
        try:
            peer = channel.ask(Hello(self._version), Welcome)
        except OSError as error:
            channel.close()
            _reap(self._child)
            self._child = 0
            raise ConnectionResetError(f"the relay's process has not begun: {error}") from None
        channel.patience = self._patience
        self._join(channel, peer)

    def _join(self, channel: Channel, peer: Welcome) -> None:
        self._channel, self._peer = channel, peer
        self._ends.register(channel.fileno(), select.EPOLLRDHUP)
        self._ask(Settle(self._access_log), Done, _OUTPUT)
        for secret, data in self._secrets.items():
            self.certificate(secret, data)

    def _ask(self, request: Request, kind: type[AnswerT], descriptors: Sequence[int] = ()) -> AnswerT:
        if self._channel is None:
            raise ConnectionResetError("the relay has ended")
        try:
            return self._channel.ask(request, kind, descriptors)
        except ConnectionError:
            self._drop("end")
            raise
        except TimeoutError:
            # What it answers later would be taken for the answer to something else.
            self._drop("silence")
            self._looked = False
            raise TimeoutError("the relay does not answer") from None

    def _drop(self, why: str) -> None:
        """Nobody knows any more what it holds. Its ports are known, and are taken again when it has ended."""
        self._lost.append(f"the {why} of the relay (process {self.process})")
        os.eventfd_write(self._alarm, 1)
        if self._channel is not None:
            self._channel.close()
        if self._child and why == "end":
            _reap(self._child)
            self._child = 0
        self._channel, self._peer = None, _NOBODY
        self._held.clear()


def running() -> Iterator[socket.socket]:
    """A connection to every relay of this network namespace that belongs to this user; whoever gets it closes it."""
    # Others' names may be bytes that are no text.
    lines = Path("/proc/thread-self/net/unix").read_text(errors="replace").splitlines()
    # A connection that was taken up has the name of where it was.
    for name in sorted({line.rpartition(" ")[2] for line in lines if f" @{NAMES}" in line}):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE_SECONDS)
        try:
            sock.connect(f"\0{name[1:]}")
        except OSError:
            sock.close()  # it has just ended
            continue
        if peer_of(sock) == os.geteuid():
            yield sock
        else:
            log.warning("somebody else's process calls itself a relay: %s", name)
            sock.close()


def stop_all() -> int:
    """End every relay here with all its connections; returns how many there were."""
    stopped = 0
    for sock in running():
        channel = Channel(sock, PATIENCE_SECONDS)
        try:
            channel.ask(Stop(), Done)
            channel.until_closed()
            stopped += 1
        except OSError as error:
            log.warning("a relay does not end: %s", error)
        finally:
            channel.close()
    return stopped


def _comparable(one: Listening) -> Listening:
    """With a tuple of backends, as those that are compiled here."""
    return structs.replace(one, backends=tuple(one.backends))


def _spawned(version: str, door: int) -> int:
    """The process, in a session of its own: Ctrl-C is for the proxy."""
    command = [sys.executable, "-m", "fairway.relay.worker", version, str(_DOOR)]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, door, _DOOR)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsid=True)


def _reap(child: int) -> None:
    """Wait for the end of a process that has ended already, as it seems; or see to it."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], _END_SECONDS)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.waitpid(child, 0)
    finally:
        os.close(handle)
