"""Parts of a kernel's state that several frontends need: there as long as the first of them came, until the last goes.

    cluster IP ──needs──▶ KUBE-SVC-X, KUBE-SEP-Y, KUBE-SEP-Z
    node port  ──needs──▶ KUBE-EXT-X, KUBE-SVC-X, KUBE-SEP-Y, KUBE-SEP-Z

Owners are counted, so that the change of one frontend never asks the others what they need. A part is any value: a
rule in its chain, an entry of an ipset, an address of a device.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

PartT = TypeVar("PartT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Turnover(Generic[PartT]):
    """What a change of some frontends means for what they share."""

    owners: dict[PartT, int]
    """By how many owners each part has more, or fewer."""
    coming: tuple[PartT, ...]
    """Parts that nobody needed before."""
    leaving: tuple[PartT, ...]
    """Parts that nobody needs any more."""


@dataclass(slots=True)
class Shares(Generic[PartT]):
    """How many owners each part has. Only `accept` changes it."""

    owners: dict[PartT, int] = field(default_factory=dict)

    def turnover(self, before: Iterable[PartT], after: Iterable[PartT]) -> Turnover[PartT]:
        """``before`` is what the changed frontends needed, ``after`` what they need now; each part once an owner."""
        more: dict[PartT, int] = {}
        for part in after:
            more[part] = more.get(part, 0) + 1
        for part in before:
            more[part] = more.get(part, 0) - 1
        changed = {part: by for part, by in more.items() if by}
        had = self.owners
        return Turnover(
            changed,
            coming=tuple(part for part in changed if part not in had),
            leaving=tuple(part for part, by in changed.items() if had.get(part) == -by),
        )

    def accept(self, turnover: Turnover[PartT]) -> None:
        """Record it."""
        for part, by in turnover.owners.items():
            owners = self.owners.get(part, 0) + by
            if owners:
                self.owners[part] = owners
            else:
                self.owners.pop(part, None)
