"""Where clients come in: sockets on the relay's own addresses, bound before anybody is led to them."""

from __future__ import annotations

import socket

from fairway.model.address import IPv6, family_of
from fairway.modes.userspace.program import ADDRESSES, ListenerKey

BACKLOG = 4096


class CannotReserve(OSError):
    """There is no port, or no file descriptor, for one more listener."""


def bound(key: ListenerKey, port: int = 0) -> socket.socket:
    """A socket for a listener, on this port (0: any that is free). Clients wait in it until somebody takes them up.

    Raises `CannotReserve`.
    """
    family = family_of(key.frontend.address)
    stream = key.frontend.protocol != "UDP"
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    try:
        sock = socket.socket(socket.AF_INET6 if family == IPv6 else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise CannotReserve(f"no socket for {key}: {error.strerror}") from None
    try:
        if port and stream:
            # Connections of a listener that was there before may not have been forgotten by the kernel yet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ADDRESSES[family], port))
        if stream:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where = f"port {port}" if port else "port"
        raise CannotReserve(f"no {where} for {key} at {ADDRESSES[family]}: {error.strerror}") from None
    return sock
