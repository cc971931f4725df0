"""What session affinity remembers backends by: a number for each, in whichever pool it is, and never one for two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from zlib import crc32

from fairway.model.parts import difference
from fairway.modes.nftables.slots import Slots, exchanged


def identity(backend: bytes, taken: Set[int] = frozenset()) -> int:
    """A number for a backend's address and port: the same at every start, so that a client keeps it over a restart."""
    found = crc32(backend) | 0x10001  # neither half is 0, which nft would not print
    while found in taken:
        found = (found + 2) & 0xFFFFFFFF | 0x10001
    return found


class Identities(dict[bytes, int]):
    """By the backends' bytes. Nobody changes one."""

    __slots__ = ("displaced",)

    def __init__(self, found: dict[bytes, int], *, displaced: bool = False) -> None:
        super().__init__(found)
        self.displaced = displaced

    def followed(self, before: Sequence[Slots], after: Sequence[Slots]) -> Identities:
        """Those of the pools after, when these are of the pools before. The same as from nothing: a number depends on
        others only if somebody is displaced."""
        if self.displaced or len(before) != 1 or len(after) != 1:
            return identities_of(after)
        gone, come = exchanged(difference(before[0].pool, after[0].pool))
        found = Identities(self)
        for one in gone:
            del found[one]
        for one in come:
            number = identity(one)
            if number in found.values():
                return identities_of(after)
            found[one] = number
        return found

    def agree(self, other: Identities) -> bool:
        """Whether everybody who is in both has the same number."""
        return {**self, **other} == {**other, **self}


def identities_of(pools: Iterable[Slots]) -> Identities:
    found: dict[bytes, int] = {}
    taken: set[int] = set()
    displaced = False
    for backend in sorted({one for backends in pools for one in backends}):
        number = found[backend] = identity(backend, taken)
        displaced = displaced or number != identity(backend)
        taken.add(number)
    return Identities(found, displaced=displaced)
