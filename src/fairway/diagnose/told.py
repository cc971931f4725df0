"""What a proxy on this machine says of itself: its /status has its settings, its rounds, and what is wrong."""

from __future__ import annotations

import re
import socket
from typing import Any

import msgspec

from fairway.kernel.namespaces import NetworkNamespace
from fairway.model.view import NodeSettings

STATUS = ("127.0.0.1", 10249)
_PATIENCE_SECONDS = 2.0
_REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_MODE = re.compile(r"[a-z]{1,16}")


class Told(msgspec.Struct, frozen=True):
    """What a proxy is set to, and the mode it is in at the moment."""

    node: NodeSettings
    mode: str


def ask(place: NetworkNamespace | None = None, at: tuple[str, int] = STATUS) -> Told | None:
    """What the proxy in that namespace, or in this one, says; None when there is none, or none that we may ask."""
    try:
        return msgspec.json.decode(_fetch(place, at), type=Told)
    except (OSError, msgspec.DecodeError):
        return None


def status(place: NetworkNamespace | None = None, at: tuple[str, int] = STATUS) -> dict[str, Any] | None:
    """All that it says; None when no proxy answers there."""
    try:
        found = msgspec.json.decode(_fetch(place, at))
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("node"), dict) else None


def mode_of_kube_proxy(at: tuple[str, int] = STATUS) -> str:
    """What kube-proxy says its mode is; empty when none answers there."""
    try:
        said = _fetch(None, at, b"/proxyMode").decode(errors="replace").strip()
    except OSError:
        return ""
    return said if _MODE.fullmatch(said) else ""


def _fetch(place: NetworkNamespace | None, at: tuple[str, int], path: bytes = b"/status") -> bytes:
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    with place.socket(family) if place else socket.socket(family) as made:
        made.settimeout(_PATIENCE_SECONDS)
        made.connect(at)
        made.sendall(_REQUEST % path)
        answer = b"".join(iter(lambda: made.recv(1 << 16), b""))
    return answer.partition(b"\r\n\r\n")[2]
