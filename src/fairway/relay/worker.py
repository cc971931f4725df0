"""The relay as a process of its own: it outlives the proxy that started it, as the kernel's rules do.

    proxy ──control──▶ ┐
    the next proxy ──▶ ├ Engine ◀── clients        with nobody to tell it anything it goes on as it was told last,
    cleanup ─────────▶ ┘                           and ends when nobody can come any more and nobody is left

Started by `fairway.relay.process` with a socket that listens under the relay's name already.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import msgspec

from fairway.relay import control
from fairway.relay.accesslog import AccessLog, Line
from fairway.relay.certificates import Certificates
from fairway.relay.control import (
    Answer,
    Ask,
    Certificate,
    Close,
    Done,
    Drain,
    Failed,
    Figures,
    Frames,
    Hello,
    Hold,
    Holding,
    Put,
    Request,
    Settle,
    Stop,
    Welcome,
)
from fairway.relay.engine import DESCRIPTORS, Engine, raise_descriptor_limit

log = logging.getLogger("fairway.relay")

LOOK_SECONDS = 0.5
"""How often a relay without a proxy looks whether anybody is left."""
_LAST_TURNS = 10


class Worker:
    """One relay and everybody who tells it what to do. ``version`` is the proxy's that started it."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._log: AccessLog | None = None
        self._lost = 0
        self._certificates = Certificates()
        self._engine = Engine(contexts=self._certificates.context, log=self._add, complain=log.warning)
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self, door: socket.socket) -> None:
        """Until it is told to stop, or nobody is left and nobody can come."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        # The habit of log rotation; the log is opened anew by itself when its file has been moved.
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        door.setblocking(False)
        loop.add_reader(door.fileno(), self._met, door)
        loop.call_later(LOOK_SECONDS, self._look)
        try:
            await self._over.wait()
        finally:
            loop.remove_reader(door.fileno())
            door.close()
            self._engine.stop()
            for task in self._tasks:
                task.cancel()
            for _ in range(_LAST_TURNS):  # in which resets go out, and the lines of the log are made
                await asyncio.sleep(0)
            if self._log is not None:
                self._log.close()

    def _met(self, door: socket.socket) -> None:
        try:
            sock, _ = door.accept()
        except OSError:
            return  # whoever it was has gone
        if control.peer_of(sock) != os.geteuid():
            sock.close()
            return
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._obey(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, sock: socket.socket) -> None:
        loop, frames, readable = asyncio.get_running_loop(), Frames(), asyncio.Event()
        loop.add_reader(sock.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                for data in frames.receive(sock):
                    await loop.sock_sendall(sock, control.framed(self._answer(data, frames)))
        except OSError:
            log.debug("a proxy has gone")
        finally:
            loop.remove_reader(sock.fileno())
            frames.close()
            sock.close()

    def _answer(self, data: bytes, frames: Frames) -> Answer:
        try:
            request = control.request_of(data)
            return self._told(request) or self._do(request, frames)
        except (msgspec.DecodeError, ValueError, OSError) as error:
            return Failed(str(error))

    def _told(self, request: Request) -> Answer | None:
        """What is asked by any version; None for the rest."""
        match request:
            case Hello():
                return Welcome(self._version, os.getpid(), self._engine.draining)
            case Ask():
                return self._figures()
            case Drain():
                self._engine.drain()
                return self._figures()
            case Stop():
                asyncio.get_running_loop().call_soon(self._over.set)
                return Done()
        return None

    def _do(self, request: Request, frames: Frames) -> Answer:
        match request:
            case Hold():
                return Holding(tuple(self._engine.held().values()))
            case Settle(path):
                self._settle(path, frames.take(2))
            case Put(listeners, new):
                found = [socket.socket(fileno=one) for one in frames.take(len(new))]
                doors = dict(zip(new, found, strict=True))
                for one in listeners:
                    self._engine.put(one, doors.get(one.key))
            case Close(keys):
                self._engine.close(keys)
            case Certificate(secret, data):
                self._certificates.put(secret, data)
            case _:
                return Failed(f"{type(request).__name__} is not understood")
        return Done()

    def _settle(self, path: str, descriptors: list[int]) -> None:
        if self._log is not None:
            self._lost += self._log.lost
            self._log.close()
        for descriptor, own in zip(descriptors, (1, 2), strict=True):
            os.dup2(descriptor, own)
            os.close(descriptor)
        self._log = AccessLog(path, log.warning)

    def _figures(self) -> Figures:
        connections, flows = self._engine.left
        lost = self._lost + (self._log.lost if self._log else 0)
        return Figures(len(self._engine.held()), connections, flows, self._engine.waiting, lost, self._engine.counts())

    def _look(self) -> None:
        if self._engine.is_idle and (self._engine.draining or not self._tasks):
            self._over.set()
        else:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _add(self, line: Line) -> None:
        if self._log is not None:
            self._log.add(line)


def main(version: str, door: int) -> None:
    logging.basicConfig(format="%(levelname)s relay: %(message)s", level=logging.INFO)
    os.chdir("/")
    most = raise_descriptor_limit()
    if most < DESCRIPTORS:
        log.warning(
            "no more than %d file descriptors, which is enough for %d connections at one time: a higher hard limit "
            "(LimitNOFILE= of the systemd unit, ulimit -Hn) lets more in",
            most,
            most // 2,
        )
    asyncio.run(Worker(version).run(socket.socket(fileno=door)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
