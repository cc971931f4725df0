"""Orders for the proxy of this network namespace, or of a lab's node: given at its claim, answered line by line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from fairway.kernel.namespaces import NetworkNamespace
from fairway.proxy.claim import NAME
from fairway.proxy.switching import Order

_PATIENCE_SECONDS = 10.0


class NobodyThere(Exception):
    """No proxy runs there that takes orders."""


def give(order: Order, place: NetworkNamespace | None = None) -> Iterator[dict[str, Any]]:
    """What happens, as it happens. Raises `NobodyThere`; whoever stops listening changes nothing."""
    made = place.socket(socket.AF_UNIX) if place else socket.socket(socket.AF_UNIX)
    with made:
        made.settimeout(_PATIENCE_SECONDS)
        try:
            made.connect(NAME)
            made.sendall(msgspec.json.encode(order) + b"\n")
            made.settimeout(None)
            with made.makefile("rb") as lines:
                for line in lines:
                    yield msgspec.json.decode(line, type=dict[str, Any])
        except OSError as error:
            raise NobodyThere(error.strerror or str(error)) from None
