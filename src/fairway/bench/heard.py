"""The word that what changed is in the kernel: from the kernel itself where it tells, else from the proxy.

nftables    the kernel says every commit to whoever listens
others      the proxy says every round that the kernel has acknowledged (``fairway proxy --receipts-fd``)
"""

from __future__ import annotations

import errno
import json
import os
import select
import time
from typing import Protocol

from fairway.kernel.nfnetlink import Netfilter
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_codec import NEW_GENERATION

_READ_BYTES = 1 << 16


class Word(Protocol):
    """What is heard."""

    @property
    def commits(self) -> int:
        """How many times the kernel was changed so far."""

    def acknowledged(self, revision: int, seconds: float) -> bool:
        """Wait until the kernel has the EndpointSlice of that revision; False when it has not after so long."""

    def anything(self, seconds: float) -> bool:
        """Whether there was any change within that time."""


class Commits:
    """The kernel's own word, which does not say what it is about: there must be one change at a time."""

    def __init__(self, netlink: Netfilter, tables: Nftables) -> None:
        self._netlink, self._tables = netlink, tables

    @property
    def commits(self) -> int:
        return self._tables.generation().number

    def acknowledged(self, revision: int, seconds: float) -> bool:
        give_up = time.perf_counter() + seconds
        while not self.anything(seconds):
            if time.perf_counter() > give_up:
                return False
        return True

    def anything(self, seconds: float) -> bool:
        try:
            return any(one.kind == NEW_GENERATION for one in self._netlink.notifications(seconds))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # there was more than the kernel keeps for us


class Rounds:
    """The proxy's word, as lines of JSON from a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""
        self._revision = 0
        self.commits = 0

    def acknowledged(self, revision: int, seconds: float) -> bool:
        give_up = time.perf_counter() + seconds
        while self._revision < revision:
            left = give_up - time.perf_counter()
            if left <= 0 or not self._read(left):
                return False
        return True

    def anything(self, seconds: float) -> bool:
        return self._read(seconds)

    def _read(self, seconds: float) -> bool:
        there, _, _ = select.select([self._pipe], [], [], seconds)
        more = os.read(self._pipe, _READ_BYTES) if there else b""
        *lines, self._rest = (self._rest + more).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.commits += bool(said["commands"])
            self._revision = max(self._revision, int(said["acknowledged"].get("EndpointSlice", 0)))
        return bool(more)
