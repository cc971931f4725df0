"""The relay of a node: its listeners, in a thread with an event loop of its own, in the network namespace it began in.

    compile ──reserve──▶ a bound socket, so that the port is known before anybody is led to it
    apply   ──put──────▶ the listener takes up work, or works otherwise from now on
            ──close────▶ nobody new; connections go on to their end

Changes of Services never interrupt a connection that has been joined; only `stop` does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from fairway.model.address import IPv6, family_of
from fairway.model.view import Key
from fairway.modes.userspace.program import ADDRESSES, ListenerKey, Listening
from fairway.relay.accesslog import Line
from fairway.relay.datagrams import DatagramListener
from fairway.relay.serving import Shared, StreamListener
from fairway.runtime.clock import Clock, SystemClock

BACKLOG = 4096
PATIENCE_SECONDS = 30.0
T = TypeVar("T")


class CannotReserve(OSError):
    """There is no port, or no file descriptor, for one more listener."""


class Relay:
    """Its methods may be called in any thread, but not in the relay's own."""

    def __init__(
        self,
        *,
        contexts: Callable[[Key], ssl.SSLContext | None] = lambda _: None,
        log: Callable[[Line], None] = lambda _: None,
        clock: Clock | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """``prepare`` is called before the first listener is made, where it is made."""
        self._prepare, self._prepared = prepare, False
        self._reserved: dict[ListenerKey, socket.socket] = {}
        self._listeners: dict[ListenerKey, StreamListener | DatagramListener] = {}
        self._draw = random.Random()
        self._shared = Shared(clock or SystemClock(), self._draw.randrange, log, contexts)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        _raise_descriptor_limit()
        self._thread.start()

    def reserve(self, key: ListenerKey) -> int:
        """The port of a listener, which nobody else gets from now on; raises OSError."""
        sock = self._reserved.get(key) or self._call(lambda: self._reserve(key))
        port: int = sock.getsockname()[1]
        return port

    def put(self, wanted: Iterable[Listening]) -> None:
        """Listeners that are new, or do something else from now on."""
        found = list(wanted)
        if found:
            self._call(lambda: self._put(found))

    def close(self, keys: Iterable[ListenerKey]) -> None:
        """Nobody comes to these any more."""
        gone = list(keys)
        if gone:
            self._call(lambda: self._close(gone))

    def held(self) -> dict[ListenerKey, Listening]:
        """What the listeners do now."""
        return self._call(lambda: {key: one.listening for key, one in self._listeners.items()})

    def counts(self) -> dict[str, int]:
        """How connections have ended so far, by the word of the access log."""
        return self._call(lambda: dict(self._shared.counts))

    @property
    def open(self) -> int:
        """Connections and UDP flows at this moment."""
        return self._shared.open

    def stop(self) -> None:
        """End everything, connections too."""
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for sock in self._reserved.values():
            sock.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Callable[[], T]) -> T:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(PATIENCE_SECONDS)

    def _reserve(self, key: ListenerKey) -> socket.socket:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        sock = self._reserved[key] = _bound(key)
        return sock

    def _put(self, wanted: list[Listening]) -> None:
        for one in wanted:
            listener = self._listeners.get(one.key)
            if listener is None:
                sock = self._reserved[one.key]
                kind = DatagramListener if one.protocol == "UDP" else StreamListener
                listener = self._listeners[one.key] = kind(sock, self._shared)
            listener.put(one)

    def _close(self, keys: list[ListenerKey]) -> None:
        for key in keys:
            self._reserved.pop(key, None)
            if listener := self._listeners.pop(key, None):
                listener.close()

    def _stop(self) -> None:
        self._close(list(self._listeners))
        for connection in list(self._shared.connections):
            connection.stop()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


def _bound(key: ListenerKey) -> socket.socket:
    family = family_of(key.frontend.address)
    stream = key.frontend.protocol != "UDP"
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    try:
        sock = socket.socket(socket.AF_INET6 if family == IPv6 else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise CannotReserve(f"no socket for {key}: {error.strerror}") from None
    try:
        sock.bind((ADDRESSES[family], 0))
        if stream:
            # From now on the kernel takes up clients; they wait for `put`.
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotReserve(f"no port for {key} at {ADDRESSES[family]}: {error.strerror}") from None
    return sock


def _raise_descriptor_limit() -> None:
    """Each connection needs two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
