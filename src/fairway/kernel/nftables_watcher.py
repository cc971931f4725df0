"""Word of who else changes what is ours in nf_tables: the kernel tells every commit to whoever listens.

… change · change · generation(number, process, name) … │ change · generation …      one commit after the other
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fairway.kernel import nftables_codec as codec
from fairway.kernel.attributes import attributes, string
from fairway.kernel.nfnetlink import Netfilter, Reply
from fairway.kernel.nftables import Generation, read_generation
from fairway.modes.nftables.tables import TABLE

_GROUP = 7
"""NFNLGRP_NFTABLES"""


@dataclass(frozen=True, slots=True)
class Intrusion:
    """Somebody else changed our table."""

    generation: Generation

    def __str__(self) -> str:
        who = f"{self.generation.program or 'a process'} (pid {self.generation.process})"
        return f"{who} changed our nftables table, generation {self.generation.number}"


@dataclass(slots=True)
class Watcher:
    """Hears every commit in this namespace, and tells those of others that touched our table.

    Processes that exist only for the change are gone by then: the name in the notification is all there is of them.
    """

    ours: int
    """Our process id, as this machine's kernel knows it."""
    table: str = TABLE
    concerns: Callable[[Reply], bool] | None = None
    """Which notifications are about what is ours; by default all those about our table."""
    deaf_to: int = 0
    """The port of the `Nftables` whose changes the kernel need not tell us."""
    lost: bool = False
    """More came than the kernel kept for us: compare the whole table to be sure."""
    _touched: bool = False
    _netlink: Netfilter = field(default_factory=lambda: Netfilter(groups=(_GROUP,)))

    def __post_init__(self) -> None:
        if self.deaf_to:
            self._netlink.deafen(self.deaf_to)

    def close(self) -> None:
        self._netlink.close()

    def fileno(self) -> int:
        return self._netlink.fileno()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Hear nothing, for a change so great that its notifications, which nobody wants, would be a third of its cost.

        What others do meanwhile is lost.
        """
        try:
            with self.unheard():
                yield
        finally:
            self.lost = True

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """The same, for who knows by other means what others did meanwhile."""
        self._netlink.leave()
        try:
            yield
        finally:
            self._netlink.join()

    def wait(self, seconds: float) -> list[Intrusion]:
        """What others did; comes back when notifications were read, or after that time."""
        found: list[Intrusion] = []
        replies = self._replies(seconds)
        if replies is None:
            # The kernel keeps nothing more for us until all that waits has been read, and does not say so again.
            while self._replies(0) != []:
                pass
            self.lost, self._touched = True, False
            return found
        for reply in replies:
            if reply.kind != codec.NEW_GENERATION:
                self._touched = self._touched or (self.concerns or self._of_our_table)(reply)
                continue
            generation = read_generation(reply)
            if self._touched and generation.process != self.ours:
                found.append(Intrusion(generation))
            self._touched = False
        return found

    def _replies(self, seconds: float) -> list[Reply] | None:
        """None when some of them are lost."""
        try:
            return self._netlink.notifications(seconds)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return None

    def _of_our_table(self, reply: Reply) -> bool:
        return string(attributes(reply.body).get(1, b"")) == self.table
