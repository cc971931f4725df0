"""A relay inside this process: its engine in a thread with an event loop of its own, in the network namespace of
whoever makes it.

    compile ──reserve──▶ a bound socket, so that the port is known before anybody is led to it
    apply   ──put, close──▶ `fairway.relay.engine`
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fairway.model.view import Key
from fairway.modes.userspace.program import ListenerKey, Listening
from fairway.relay.accesslog import Line
from fairway.relay.doors import bound
from fairway.relay.engine import Engine, Left, raise_descriptor_limit
from fairway.runtime.clock import Clock

PATIENCE_SECONDS = 30.0
T = TypeVar("T")


class Relay:
    """Its methods may be called in any thread, but not in the relay's own."""

    def __init__(
        self,
        *,
        contexts: Callable[[Key], ssl.SSLContext | None] = lambda _: None,
        log: Callable[[Line], None] = lambda _: None,
        clock: Clock | None = None,
        prepare: Callable[[], None] = lambda: None,
        **limits: Any,
    ) -> None:
        """``prepare`` is called before the first listener is made, where it is made; ``limits`` as in `Engine`."""
        self._prepare, self._prepared = prepare, False
        self._reserved: dict[ListenerKey, socket.socket] = {}
        self._ports: dict[ListenerKey, int] = {}
        self._loop = asyncio.new_event_loop()
        self._engine = Engine(contexts=contexts, log=log, clock=clock, **limits)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._never = os.eventfd(0)
        raise_descriptor_limit()
        self._thread.start()

    def reserve(self, key: ListenerKey) -> int:
        """The port of a listener, which nobody else gets from now on; raises OSError."""
        port = self._ports.get(key)
        return port if port is not None else self._call(lambda: self._reserve(key))

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
        return self._call(self._engine.held)

    def drain(self) -> Left:
        """Nobody new is taken up from now on; who is there stays. How many those are; `left` tells it later."""
        return self._call(self._engine.drain)

    @property
    def left(self) -> Left:
        """Connections and UDP flows at this moment."""
        return self._call(lambda: self._engine.left)

    @property
    def waiting(self) -> int:
        """Bytes of connections that have come in and not gone out."""
        return self._call(lambda: self._engine.waiting)

    def counts(self) -> dict[str, int]:
        """How connections have ended so far, by the word of the access log."""
        return self._call(self._engine.counts)

    def fileno(self) -> int:
        """Never readable: it ends with this process."""
        return self._never

    def others(self) -> list[str]:
        return []

    def release(self) -> None:
        """End everything, connections too."""
        os.close(self._never)
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

    def _reserve(self, key: ListenerKey) -> int:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._reserved[key] = door = bound(key)
        port: int = door.getsockname()[1]
        self._ports[key] = port
        return port

    def _put(self, wanted: list[Listening]) -> None:
        for one in wanted:
            self._engine.put(one, self._reserved.pop(one.key, None))

    def _close(self, keys: list[ListenerKey]) -> None:
        for key in keys:
            self._ports.pop(key, None)
            if door := self._reserved.pop(key, None):
                door.close()
        self._engine.close(keys)

    def _stop(self) -> None:
        self._engine.stop()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
