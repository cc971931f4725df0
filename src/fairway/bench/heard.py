"""The word that what changed is in the kernel: from the kernel itself where it tells, else from the proxy.

nftables    the kernel says every commit to whoever listens
others      the proxy says every round that the kernel has acknowledged (``fairway proxy --receipts-fd``)

Who sleeps until the word comes takes 10 to 30 us to wake, which would be counted as the proxy's. So whoever waits for
the kernel's may stay awake for the first milliseconds, and stands back for everybody else on its processor; where that
is the proxy's, too, the proxy needs it. The proxy's own word is for modes that take a hundred times as long.
"""

from __future__ import annotations

import errno
import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from fairway.kernel.nfnetlink import Netfilter
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_codec import NEW_GENERATION

_READ_BYTES = 1 << 16
_CAP_SYS_NICE = 23
_AWAKE_SECONDS = 0.005
"""Of a change that takes longer, the time to wake is nothing; and a processor that somebody else may want is left."""


class Word(Protocol):
    """What is heard."""

    @property
    def commits(self) -> int:
        """How many times the kernel was changed so far."""

    def acknowledged(self, revision: int, seconds: float) -> float | None:
        """Wait until the kernel has the EndpointSlice of that revision.

        Returns the moment at which the word was there, by ``time.perf_counter``; None when it has not come after so
        long.
        """

    def anything(self, seconds: float) -> bool:
        """Whether there was any change within that time."""


class HasFileno(Protocol):
    """Somebody to listen to."""

    def fileno(self) -> int: ...


def readable_at(source: HasFileno | int, seconds: float, *, awake: bool) -> float | None:
    """When there is something to read, by ``time.perf_counter``; None when there is not within that time."""
    if awake:
        with _standing_back():
            found = _readable_at(source, min(seconds, _AWAKE_SECONDS), asleep=False)
        if found is not None or seconds <= _AWAKE_SECONDS:
            return found
        seconds -= _AWAKE_SECONDS
    return _readable_at(source, seconds, asleep=True)


def _readable_at(source: HasFileno | int, seconds: float, *, asleep: bool) -> float | None:
    now = time.perf_counter()
    end = now + seconds
    while True:
        there, _, _ = select.select([source], [], [], max(0.0, end - now) if asleep else 0)
        now = time.perf_counter()
        if there:
            return now
        if now >= end:
            return None


@contextmanager
def _standing_back() -> Iterator[None]:
    """Whoever else wants the processor has it at once: it counts as one with nothing to do.

    Otherwise the kernel's workers, which have much to put away after a load, would take turns with the proxy on the
    other processor, milliseconds at a time. Who was started ahead of all others (``chrt``) stays there.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    if policy != os.SCHED_OTHER or not _may_come_back():
        yield
        return
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


@cache
def _may_come_back() -> bool:
    """Whether the kernel would let us leave `SCHED_IDLE`: that takes CAP_SYS_NICE, which few containers have."""
    said = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in said if line.startswith("CapEff:"))
    return bool(effective >> _CAP_SYS_NICE & 1)


class Commits:
    """The kernel's own word, which does not say what it is about: there must be one change at a time."""

    def __init__(self, netlink: Netfilter, tables: Nftables, *, awake: bool) -> None:
        """``awake``: whether the proxy has another processor than whoever waits."""
        self._netlink, self._tables, self._awake = netlink, tables, awake

    @property
    def commits(self) -> int:
        return self._tables.generation().number

    def acknowledged(self, revision: int, seconds: float) -> float | None:
        give_up = time.perf_counter() + seconds
        while (moment := readable_at(self._netlink, give_up - time.perf_counter(), awake=self._awake)) is not None:
            if self.anything(0):
                return moment
        return None

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

    def acknowledged(self, revision: int, seconds: float) -> float | None:
        give_up = time.perf_counter() + seconds
        while (moment := self._readable_at(give_up - time.perf_counter())) is not None and self._read():
            if self._revision >= revision:
                return moment
        return None

    def anything(self, seconds: float) -> bool:
        return self._readable_at(seconds) is not None and self._read()

    def _readable_at(self, seconds: float) -> float | None:
        return readable_at(self._pipe, seconds, awake=False)

    def _read(self) -> bool:
        """What is there; False at the end, when the proxy is gone."""
        more = os.read(self._pipe, _READ_BYTES)
        *lines, self._rest = (self._rest + more).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.commits += bool(said["commands"])
            self._revision = max(self._revision, int(said["acknowledged"].get("EndpointSlice", 0)))
        return bool(more)
