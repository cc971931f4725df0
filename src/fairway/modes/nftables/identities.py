"""What session affinity remembers backends by: a number for each, in whichever pool it is, and never one for two.

Nearly always it is made of the backend's address and port alone. Of two with the same number one is *displaced*: it
gets the next one that is free, and nobody can tell which without a look at the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from zlib import crc32

from fairway.model.parts import difference
from fairway.modes.nftables.slots import Slots, exchanged


def identity(backend: bytes, taken: Set[int] = frozenset()) -> int:
    """A number for a backend's address and port: the same at every start, so that a client keeps it over a restart."""
    return next(one for one in _tried(backend) if one not in taken)


def _own(backend: bytes) -> int:
    return crc32(backend) | 0x10001  # neither half is 0, which nft would not print


def _tried(backend: bytes) -> Iterator[int]:
    """The numbers that it may have, its own first."""
    found = _own(backend)
    while True:
        yield found
        found = (found + 2) & 0xFFFFFFFF | 0x10001


class Identities:
    """The number of each backend of a frontend. Never changed: `followed` gives others.

    They are equal if they give the same numbers, whoever the backends are.
    """

    __slots__ = ("_displaced", "_taken", "_tried")

    def __init__(self, displaced: Mapping[bytes, int], tried: frozenset[int], taken: set[int]) -> None:
        """``displaced`` are those with another number than their own, ``tried`` all that these came by."""
        self._displaced, self._tried = displaced, tried
        self._taken: set[int] | None = taken
        """Everybody's. It goes along from one change to the next: copying 100,000 would take longer than all else."""

    def __getitem__(self, backend: bytes) -> int:
        return self._displaced.get(backend) or _own(backend)

    def __eq__(self, other: object) -> bool:
        return self._displaced == other._displaced if isinstance(other, Identities) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._displaced.items()))

    def followed(self, before: Sequence[Slots], after: Sequence[Slots]) -> Identities:
        """Those of the pools after, when these are of the pools before: the same as from nothing."""
        if len(before) != 1 or len(after) != 1:
            return identities_of(after)
        gone, come = exchanged(difference(before[0].pool, after[0].pool))
        taken, self._taken = self._taken, None
        if taken is None:
            taken = {self[one] for one in before[0]}
        leaving = {self[one] for one in gone}
        if not leaving.isdisjoint(self._tried):  # somebody who is displaced may get a better one now
            return identities_of(after)
        taken -= leaving
        for one in come:
            number = _own(one)
            if number in taken:
                return identities_of(after)
            taken.add(number)
        return Identities(self._displaced, self._tried, taken)


def identities_of(pools: Iterable[Slots]) -> Identities:
    """From nothing. The order of backends decides who is displaced, so that every start finds the same numbers."""
    displaced: dict[bytes, int] = {}
    tried: set[int] = set()
    taken: set[int] = set()
    for backend in sorted({one for backends in pools for one in backends}):
        number = _own(backend)
        if number in taken:
            number = displaced[backend] = identity(backend, taken)
            tried.update(_until(number, backend))
        taken.add(number)
    return Identities(displaced, frozenset(tried), taken)


def _until(number: int, backend: bytes) -> Iterator[int]:
    """All that a backend tried until it got this one, which is the last."""
    for one in _tried(backend):
        yield one
        if one == number:
            return
