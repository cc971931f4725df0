"""What a proxy on this machine says of itself: its /status has the settings that its flags and its node make."""

from __future__ import annotations

import socket

import msgspec

from fairway.kernel.namespaces import NetworkNamespace
from fairway.model.view import NodeSettings

_STATUS = ("127.0.0.1", 10249)
_PATIENCE_SECONDS = 2.0
_REQUEST = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _Status(msgspec.Struct):
    node: NodeSettings


def ask(place: NetworkNamespace | None = None, at: tuple[str, int] = _STATUS) -> NodeSettings | None:
    """The settings of the proxy in that namespace, or in this one; None when there is none, or none that we may ask."""
    try:
        with place.socket() if place else socket.socket() as made:
            made.settimeout(_PATIENCE_SECONDS)
            made.connect(at)
            made.sendall(_REQUEST)
            answer = b"".join(iter(lambda: made.recv(1 << 16), b""))
        return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=_Status).node
    except (OSError, msgspec.DecodeError):
        return None
