"""Unit tests of `fairway.kernel.sockets`: real sockets, and names that only make trouble."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import ExitStack

from fairway.kernel.sockets import holder_of_name


def test_whose_a_name_is_among_names_that_are_no_text() -> None:
    name = f"\0fwt-{secrets.token_hex(8)}"
    mark = name[1:].encode()
    with ExitStack() as stack:
        for awkward in (b"\xff\xfe " + mark, b"b c d e f g h i\n" + mark, b" \na b c zz e f 1 @" + mark):
            _listening(stack, b"\0" + awkward)
        assert holder_of_name(name) == "a process of another container"
        wanted = stack.enter_context(socket.socket(socket.AF_UNIX))
        wanted.bind(name)
        assert holder_of_name(name) == "a process of another container"  # nobody can come to it yet
        wanted.listen()
        assert holder_of_name(name).endswith(f"(pid {os.getpid()})")


def _listening(stack: ExitStack, name: bytes) -> None:
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.bind(name)
    made.listen()
