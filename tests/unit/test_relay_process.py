"""Unit tests of `fairway.relay.process`: which relays there are, among sockets of anybody."""

from __future__ import annotations

import secrets
import socket

from fairway.relay.control import NAMES
from fairway.relay.process import running


def test_relays_are_found_among_names_that_are_no_text() -> None:
    mark = secrets.token_hex(8)
    name = f"\0{NAMES}{mark}"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as relay:
        other.bind(b"\0fwt-\xff\xfe" + mark.encode())
        other.listen()
        relay.bind(name)
        relay.listen()
        found = list(running())
        assert name.encode() in [one.getpeername() for one in found]
        for one in found:
            one.close()
