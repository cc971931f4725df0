"""Receipts: for each event of an object, when the kernel had what follows from it, and how much that was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from fairway.model.view import Key, Struct
from fairway.proxy.cache import Cause


class RoundKind(StrEnum):
    """Why the kernel was asked for something."""

    START = "start"  # the whole, from what the kernel held when this process began
    CHANGE = "change"  # some frontends
    NODE = "node"  # the node's settings changed, so the whole was compared
    REPAIR = "repair"  # somebody else changed what is ours, or a round failed
    SWITCH = "switch"  # the whole, in another mode


class Round(Struct):
    """One acknowledged conversation with the kernel.

    ``commands`` is the length of the Plan: elements, rules, chains. ``seconds`` is from the first look at what changed
    until the acknowledgement. ``at`` is in seconds since 1970. ``by`` names who made a repair necessary, such as
    ``nft (pid 123)``; it is empty when that was nobody else.
    """

    kind: RoundKind
    at: float
    seconds: float
    commands: int
    frontends: int
    by: str = ""

    def __str__(self) -> str:
        done = f"{self.commands} commands for {self.frontends} frontends in {self.seconds * 1000:.1f} ms"
        return f"{self.kind}: {done}{f', after {self.by}' if self.by else ''}"


class Receipt(NamedTuple):
    """The kernel has what follows from this version of an object (nothing, when ``commands`` is 0).

    ``seconds`` is from the arrival of the event until the kernel's acknowledgement; ``commands`` belongs to the whole
    round, which may have carried other events too. ``at`` is in seconds since 1970.
    """

    kind: str
    key: Key
    resource_version: str
    at: float
    seconds: float
    commands: int


class Receipts:
    """The last receipts, oldest first."""

    def __init__(self, keep: int = 1000) -> None:
        self._ring: deque[Receipt] = deque(maxlen=keep)
        self.total = 0

    def __iter__(self) -> Iterator[Receipt]:
        return iter(self._ring)

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, causes: Iterable[Cause], *, at: float, monotonic: float, commands: int) -> list[Receipt]:
        """Write a receipt for every cause of a round that was acknowledged now."""
        written = [
            Receipt(one.kind, one.key, one.resource_version, at, max(0.0, monotonic - one.seen), commands)
            for one in causes
        ]
        self._ring.extend(written)
        self.total += len(written)
        return written
