"""One TCP connection through the relay: two halves that pass on what they get, and how it ends.

    client ──▶ Half ══ peer ══ Half ──▶ backend
                 ▲ paused while the other's buffer holds anything: a slow reader slows the writer, not the relay

A half that has ended (FIN) ends the other direction only when everything is through; a reset is passed on as a reset.
Whoever vanishes without a word is found by keepalive probes. Who is there and silent, or takes nothing, may be so for
ever, or as long as the Service says; when half of the connection is closed, not for long.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, cast

CHUNK = 32 * 1024
"""Bytes read at once, and so the most that waits in each direction of a connection."""
HALF_CLOSED_SECONDS = 600.0
"""So long may a connection be silent whose one side has said all, unless its Service says otherwise."""
_UNSENT = 128 * 1024
"""Bytes that the kernel takes for a peer that does not: without a bound it would be megabytes."""


class Keepalive(NamedTuple):
    """Seconds of silence before the first probe, seconds between probes, and how many may stay unanswered."""

    idle: int = 60
    interval: int = 15
    probes: int = 4


class Timeouts(NamedTuple):
    """Seconds of silence after which a connection ends, 0 for never; and how vanished peers are found."""

    idle: float = 0.0
    half_closed: float = HALF_CLOSED_SECONDS
    keepalive: Keepalive = Keepalive()


_KEEPALIVE = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
_ABORT = struct.pack("ii", 1, 0)


class Half(asyncio.BufferedProtocol):
    """One side. ``name`` is ``client`` or ``backend``; ``stream`` hears how it goes."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.name, self._stream = name, stream
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.peer: Half | None = None
        self.received = 0
        self.ended = False
        """Whether it will send nothing any more."""
        self.lost = False
        self._sink: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Anything that waits in the buffer stops the other side: memory is one chunk a direction. (0 would stop a TLS
        # transport for ever: it asks whether as much as that waits, not more.)
        self.transport.set_write_buffer_limits(high=1)
        # Nothing is read before there is somebody to pass it on to. Before 3.11.3 asyncio begins to read after this
        # call, whatever was said in it: so it is said again then.
        self.transport.pause_reading()
        self._loop.call_soon(self._hold)
        tune(self.transport.get_extra_info("socket"), self._stream.timeouts.keepalive)

    def _hold(self) -> None:
        if self.peer is None and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.pause_reading()

    def join(self, peer: Half) -> None:
        """Begin to pass on."""
        self.peer, self._sink = peer, peer.transport
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._stream.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self._stream.last = self._loop.time()
        if self._sink is not None:
            self._sink.write(bytes(self._stream.buffer[:nbytes]))

    def eof_received(self) -> bool:
        self.ended = True
        self._stream.half_closed(self)
        sink = self._sink
        if sink is None or self.peer is None:
            return False
        if self.peer.ended or not sink.can_write_eof():
            # Both have said all; or TLS, which has no half of a connection: what waits is still sent.
            sink.close()
            return False
        sink.write_eof()
        return self.transport is not None and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.lost:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._sink is not None and self.peer is not None and not self.peer.lost:
            if exc is None:
                self._sink.close()
            else:
                reset(self._sink)
        self._stream.lost(self, exc)


class Stream:
    """Both halves together. ``done`` is called once, when both are gone, with how it ended."""

    def __init__(self, buffer: memoryview, done: Callable[[str], None], timeouts: Timeouts) -> None:
        self.buffer = buffer
        """Shared by all streams of a loop: what is read is passed on before the next one reads."""
        self.timeouts = timeouts
        self.last = 0.0
        """When anything came in, from either side, by the loop's clock."""
        self.client = Half("client", self)
        self.backend: Half | None = None
        self.end = ""
        self._done = done
        self._finished = False
        self._clock: asyncio.TimerHandle | None = None

    def new_backend(self) -> Half:
        """A half for the next attempt to reach one."""
        self.backend = Half("backend", self)
        return self.backend

    def forget_backend(self) -> None:
        """The attempt has failed."""
        self.backend = None

    def join(self) -> None:
        """Let it flow; the client may have gone in the meantime."""
        if self.backend is None or self.backend.transport is None:
            raise RuntimeError("there is no backend yet")
        if self.client.lost:
            self.backend.peer = self.client
            self.backend.transport.close()
            return
        self.client.join(self.backend)
        self.backend.join(self.client)
        if self.timeouts.idle:
            self._watch(self.timeouts.idle, "silent")

    def half_closed(self, half: Half) -> None:
        self.end = self.end or f"{half.name} closed"
        limit = min(one for one in (self.timeouts.half_closed, self.timeouts.idle) if one)
        self._watch(limit, "silent after half of it was closed")

    @property
    def waiting(self) -> int:
        """Bytes that have come in and not gone out."""
        there = (half.transport for half in (self.client, self.backend) if half is not None and not half.lost)
        return sum(one.get_write_buffer_size() for one in there if one is not None)

    def _watch(self, limit: float, why: str) -> None:
        """End it when it is silent for so long, from now on."""
        if self._clock is not None:
            self._clock.cancel()
        loop = asyncio.get_running_loop()
        self.last = loop.time()
        self._clock = loop.call_later(limit, self._look, limit, why)

    def _look(self, limit: float, why: str) -> None:
        loop = asyncio.get_running_loop()
        left = self.last + limit - loop.time()
        if left <= 0:
            self.stop(why)
        else:
            self._clock = loop.call_later(left, self._look, limit, why)

    def lost(self, half: Half, exc: Exception | None) -> None:
        if half not in (self.client, self.backend):
            return  # an attempt that was given up
        if not self.end:
            self.end = f"{half.name} closed" if exc is None else f"{half.name} {_word(exc)}"
        others = (self.client.transport is None or self.client.lost) and (
            self.backend is None or self.backend.transport is None or self.backend.lost
        )
        if others:
            self.finish()

    def stop(self, why: str) -> None:
        """End it now, with a reset, whatever waits."""
        self.end = self.end if self.end.startswith("refused") else why
        for half in (self.client, self.backend):
            if half is not None and half.transport is not None and not half.lost:
                reset(half.transport)

    def finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._clock is not None:
            self._clock.cancel()
        self._done(self.end)


def tune(sock: socket.socket, keepalive: Keepalive) -> None:
    """Small writes go out at once, a peer that vanished is found, and one that takes nothing costs little."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in zip(_KEEPALIVE, keepalive, strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset, so that the other end sees what has happened."""
    if (sock := transport.get_extra_info("socket")) is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    transport.abort()


def refuse(sock: socket.socket) -> None:
    """The same for a connection that was never taken up."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    sock.close()


def _word(error: Exception) -> str:
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    return "vanished" if isinstance(error, TimeoutError) else f"failed: {error}"
