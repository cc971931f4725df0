"""Word of who else changes our chains of iptables, while tools that we start change them for us.

nft variant       nf_tables tells of every commit, and numbers them: as many as our tools made are ours
legacy variant    the kernel tells nothing: rules and bytes of the tables are asked for every few seconds
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from fairway.kernel.attributes import attributes, string
from fairway.kernel.nfnetlink import Reply
from fairway.kernel.nftables import Generation, Nftables
from fairway.kernel.nftables_codec import DELETE_CHAIN, DELETE_RULE, DELETE_TABLE, NEW_CHAIN, NEW_RULE
from fairway.kernel.nftables_watcher import Watcher
from fairway.kernel.rounds import Rounds
from fairway.kernel.xtables import Tools
from fairway.modes.iptables.names import is_ours
from fairway.modes.xtables import HOOKS, TABLES

_REMEMBERED = 64


class Sentry(Protocol):
    """Notices what others change."""

    def fileno(self) -> int: ...

    def at_work(self, *, much: bool = False) -> AbstractContextManager[None]:
        """For as long as we read the whole, or our tools write; ``much``: more than anybody wants to hear of."""

    def others(self) -> list[str]: ...

    def close(self) -> None: ...


def open_sentry(tools: Tools) -> Sentry:
    if tools.variant == "legacy":
        return Sizes(lambda: [tools.sizes(family, ("nat", "filter")) for family in tools.families])
    nftables = Nftables()
    return Generations(nftables, Watcher(0, concerns=touches_ours), lambda: tools.commits.made)


@dataclass
class Generations:
    """Hears every commit; ours are known by their numbers, because another process does them for us.

    We are `at_work` in one thread and asked for `others` in another.
    """

    nftables: Nftables
    watcher: Watcher
    made: Callable[[], int]
    """How many commits our tools were told to make so far."""
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _ours: deque[range] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _busy: bool = False
    _heard: list[Generation] = field(default_factory=list)
    _doubt: bool = False

    def fileno(self) -> int:
        return self.watcher.fileno()

    @contextmanager
    def at_work(self, *, much: bool = False) -> Iterator[None]:
        """The kernel keeps only so many notifications for us: of much it tells us nothing, the numbers say it all."""
        self._busy = True
        try:
            began, made = self._number(), self.made()
            try:
                with self.watcher.unheard() if much else nullcontext():
                    yield
            finally:
                self._account(began, self.made() - made, much=much)
        finally:
            self._busy = False

    def _account(self, began: int, ours: int, *, much: bool) -> None:
        """There were so many of ours among the commits since that number."""
        now = self._number()
        if now - began == ours:
            self._ours.append(range(began + 1, now + 1))
        elif ours or much:
            # Somebody committed while we did, before or after: only the whole tells what is there now.
            self._doubt = True

    def others(self) -> list[str]:
        self._heard += [one.generation for one in self.watcher.wait(0)]
        if self._busy:
            return []  # which of them are ours is known when the round is done; this is asked again then
        heard, self._heard = self._heard, []
        foreign = [one for one in heard if not self._is_ours(one.number)]
        found = [f"{one.program or 'a process'} (pid {one.process})" for one in foreign]
        if self._doubt:
            found.append("somebody, perhaps (at the same time as we)")
        if self.watcher.lost:
            found.append("somebody, who was not heard")
        self._doubt = self.watcher.lost = False
        return found

    def _number(self) -> int:
        with self._asking:
            return self.nftables.generation().number

    def _is_ours(self, number: int) -> bool:
        return any(number in ours for ours in self._ours)

    def close(self) -> None:
        self.watcher.close()
        self.nftables.close()


class Sizes:
    """Asks now and then how much the tables hold."""

    def __init__(self, measure: Callable[[], object]) -> None:
        self._measure = measure
        self._known = measure()
        self._work = threading.Lock()
        self.rounds = Rounds(self._changed, "somebody (the legacy variant does not tell who)")

    def fileno(self) -> int:
        return self.rounds.fileno()

    @contextmanager
    def at_work(self, *, much: bool = False) -> Iterator[None]:
        with self._work:
            if self._measure() != self._known:
                self.rounds.tell()  # by the next look it would be taken for what we did
            try:
                yield
            finally:
                self._known = self._measure()

    def others(self) -> list[str]:
        return self.rounds.others()

    def close(self) -> None:
        self.rounds.close()

    def _changed(self) -> bool:
        with self._work:
            before, self._known = self._known, self._measure()
            return self._known != before


def touches_ours(reply: Reply) -> bool:
    """Whether a notification is about a chain of ours; in a hook's chain only what goes, which may have been ours."""
    found = attributes(reply.body)
    if string(found.get(1, b"")) not in TABLES:
        return False
    match reply.kind:
        case x if x in (NEW_RULE, DELETE_RULE):
            chain = string(found.get(2, b""))
            return is_ours(chain) or (reply.kind == DELETE_RULE and chain in HOOKS)
        case x if x in (NEW_CHAIN, DELETE_CHAIN):
            return is_ours(string(found.get(3, b"")))
        case _:
            return reply.kind == DELETE_TABLE
