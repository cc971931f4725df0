"""The listeners of a node at work, all on one event loop; every method is called in the loop's own thread.

    put ────▶ the listener takes up work, or works otherwise from now on
    close ──▶ nobody new but who is on the way already; connections go on to their end
    drain ──▶ the same for all of them, for good: `left` says how many are still there

Changes never interrupt a connection that has been joined; only `stop` does.
"""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fairway.model.view import Key
from fairway.modes.userspace.program import ListenerKey, Listening
from fairway.relay.accesslog import Line
from fairway.relay.datagrams import DatagramListener
from fairway.relay.serving import Shared, StreamListener
from fairway.runtime.clock import Clock, SystemClock

LINGER_SECONDS = 0.5
"""A client whose handshake had begun when the rules changed still arrives; so long its listener is there for it."""


DESCRIPTORS = 131_072
"""As many as a relay wants to be allowed: for 65,000 connections at one time."""


class Left(NamedTuple):
    """What is still going on."""

    connections: int
    flows: int
    """Of UDP."""

    def __str__(self) -> str:
        return f"{self.connections} connections and {self.flows} UDP flows"


class Engine:
    """All listeners of one relay."""

    def __init__(
        self,
        *,
        contexts: Callable[[Key], ssl.SSLContext | None] = lambda _: None,
        log: Callable[[Line], None] = lambda _: None,
        clock: Clock | None = None,
        **limits: Any,
    ) -> None:
        """``limits`` are those of `Shared`: ``handshake_seconds``, ``keepalive``, ``descriptors``, ``most_flows`` and
        ``complain``."""
        self._shared = Shared(clock or SystemClock(), random.Random().randrange, log, contexts, **limits)
        self._listeners: dict[ListenerKey, StreamListener | DatagramListener] = {}
        self._leaving: dict[StreamListener | DatagramListener, asyncio.TimerHandle] = {}
        self.draining = False
        """Nobody new is taken up any more, whatever is put."""

    def put(self, wanted: Listening, door: socket.socket | None = None) -> None:
        """A listener that is new, with its bound socket; or one that does something else from now on."""
        listener = self._listeners.get(wanted.key)
        if listener is None:
            if door is None:
                raise ValueError(f"{wanted.key} has no listener, and no socket for one was given")
            kind = DatagramListener if wanted.protocol == "UDP" else StreamListener
            listener = self._listeners[wanted.key] = kind(door, self._shared)
        elif door is not None:
            door.close()
        self._shared.listeners = len(self._listeners) + len(self._leaving)
        listener.put(wanted)

    def close(self, keys: Iterable[ListenerKey]) -> None:
        """The rules lead nobody to these any more; UDP flows end, since their clients are led elsewhere, too."""
        for key in keys:
            listener = self._listeners.pop(key, None)
            if isinstance(listener, DatagramListener):
                listener.close()
            elif listener is not None:
                self._leave(listener)

    def drain(self) -> Left:
        """Nobody new anywhere, from now on; who is there stays."""
        self.draining = True
        for listener in self._listeners.values():
            self._leave(listener)
        self._listeners.clear()
        return self.left

    @property
    def left(self) -> Left:
        """Connections that have not ended yet, and flows."""
        shared = self._shared
        return Left(len(shared.connections), shared.open - len(shared.connections))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is going on, and nobody can come."""
        return not self._listeners and not self._leaving and not self._shared.open

    @property
    def waiting(self) -> int:
        """Bytes of connections that have come in and not gone out: at most a chunk for each direction."""
        return sum(one.waiting for one in self._shared.connections)

    def held(self) -> dict[ListenerKey, Listening]:
        """What the listeners do now."""
        return {key: one.listening for key, one in self._listeners.items()}

    def counts(self) -> dict[str, int]:
        """How connections have ended so far, by the word of the access log."""
        return dict(self._shared.counts)

    def stop(self) -> None:
        """End everything, connections too."""
        self.draining = True
        for listener in (*self._listeners.values(), *self._leaving):
            listener.close()
        for timer in self._leaving.values():
            timer.cancel()
        self._listeners.clear()
        self._leaving.clear()
        for connection in list(self._shared.connections):
            connection.stop("the relay stopped")

    def _leave(self, listener: StreamListener | DatagramListener) -> None:
        listener.leave()
        self._look_again(listener)

    def _look_again(self, listener: StreamListener | DatagramListener) -> None:
        self._leaving[listener] = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close_left, listener)

    def _close_left(self, listener: StreamListener | DatagramListener) -> None:
        if listener.is_needed:
            self._look_again(listener)
        else:
            del self._leaving[listener]
            self._shared.listeners -= 1
            listener.close()


def raise_descriptor_limit() -> int:
    """Each connection needs two descriptors; returns how many this process may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        except (OSError, ValueError):  # only root may raise the hard limit, and nobody above fs.nr_open
            continue
        return most
    return soft
