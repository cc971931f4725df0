"""What connections and streams of a measurement end in: a process that takes everything and says back what is short.

Started with the descriptors of sockets that listen already, so that it needs no namespace of its own and no library.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys

_PIECE = 1 << 20
WORD = 16
"""Bytes that are said back; what is longer is part of a stream."""


def serve(listeners: list[socket.socket]) -> None:
    """Accept and read, for as long as the process lives."""
    buffer = bytearray(_PIECE)
    with selectors.DefaultSelector() as waiting:
        for one in listeners:
            one.setblocking(False)
            waiting.register(one, selectors.EVENT_READ, True)
        while True:
            for key, _ in waiting.select():
                found = key.fileobj
                assert isinstance(found, socket.socket)
                if key.data:
                    _accept(found, waiting)
                elif not _read(found, buffer):
                    waiting.unregister(found)
                    found.close()


def _accept(listener: socket.socket, waiting: selectors.BaseSelector) -> None:
    """One at a time: those that have ended meanwhile are closed in between, and never too many are open."""
    try:
        connection, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return  # who was waiting has gone
    connection.setblocking(False)
    waiting.register(connection, selectors.EVENT_READ, False)


def _read(connection: socket.socket, buffer: bytearray) -> bool:
    """Whether the connection is still there."""
    try:
        count = connection.recv_into(buffer)
        if 0 < count <= WORD:
            connection.send(buffer[:count])
        return count > 0
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    serve([socket.socket(fileno=int(number)) for number in sys.argv[1:]])
