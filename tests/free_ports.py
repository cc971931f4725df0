"""Ports for servers that must be told theirs by number.

A port that is free now may be somebody's a moment later, when it is one of those that the kernel gives out by itself:
to every connection of every process, of which the suite has many at once. So it is none of those.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

_FIRST = 12_000
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Not the module's own numbers: Hypothesis makes those the same in every process.
_choose = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """So many that nobody listens on; all at once, so that they differ."""
    candidates = range(_FIRST, int(_GIVEN_OUT.read_text().split()[0]))
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            made, port = stack.enter_context(socket.socket()), _choose.choice(candidates)
            try:
                made.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
