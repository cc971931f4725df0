"""One tool writes in a network namespace at a time, and whoever is about to read waits for it, whoever started it.

    proxy ──┬──────── holds ───────────┐
            ╰─starts─▶ iptables-restore ┴─▶ a name        the proxy is killed: its tool still holds the name, and ends
                                              ▲           what it has begun
    next proxy ────────── connects ───────────╯           the kernel ends the connection with the last holder

The name is one of the abstract UNIX sockets, which belong to the network namespace as the rules do. A tool inherits the
socket from its very first moment, and does not know of it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fairway.kernel.sockets import holder_of_name

NAME = "\0fairway-writing"
SECONDS = 600.0
"""How long a tool may take."""
_ASKED = 4096
_ATTEMPTS, _PAUSE = 50, 0.01
_CREDENTIALS = struct.Struct("=iII")


@contextmanager
def writing() -> Iterator[tuple[int, ...]]:
    """For as long as a tool writes: what it is to inherit, nothing where a stranger keeps the name from us.

    Whoever writes already is waited for.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        yield (held.fileno(),) if _taken(held) else ()


def wait_for_writers(tell: Callable[[str], None], seconds: float = SECONDS) -> None:
    """Until no tool writes here any more; says once for whom it waits. Raises `TimeoutError` with a sentence."""
    with _asking() as asked:
        if asked is None or not _is_ours(asked):
            return
        who = f"{holder_of_name(NAME)} is still writing what a proxy before has told it"
        tell(f"{who}: waiting for its end")
        asked.settimeout(seconds)
        try:
            _until_end(asked)
        except TimeoutError:
            raise TimeoutError(f"{who}, after {seconds:g} s; end it") from None


def _taken(held: socket.socket) -> bool:
    pause = threading.Event()
    for _ in range(_ATTEMPTS):
        try:
            held.bind(NAME)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            held.listen(_ASKED)
            return True
        with _asking() as asked:
            if asked is None:
                pause.wait(_PAUSE)  # who has just taken the name does not listen yet, and nobody tells when
            elif _is_ours(asked):
                _until_end(asked)
            else:
                return False
    return False


@contextmanager
def _asking() -> Iterator[socket.socket | None]:
    """A connection to whoever has the name: it ends when they do. None when nobody listens there, or a stranger who
    lets nobody in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(NAME)
        except (ConnectionRefusedError, BlockingIOError):
            yield None
            return
        asking.setblocking(True)
        yield asking


def _is_ours(asked: socket.socket) -> bool:
    """Whether the name is that of a process of this user, and not a stranger's who keeps it from us."""
    found = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.geteuid())


def _until_end(asked: socket.socket) -> None:
    # Nobody accepts: the connection is reset when the last descriptor of the name is closed.
    with suppress(ConnectionResetError):
        asked.recv(1)
