"""Who has which slot of a pool: numbers from 0 on without a hole, since one of so many is drawn.

    before   0 A   1 B   2 C   3 D
    B leaves 0 A   1 D   2 C              the last fills the hole, everybody else stays
    E comes  0 A   1 D   2 C   3 E

Backends are their bytes (address, port), all of one size, and lie one behind the other: 100,000 of them are 800 KB.
Pools are compared by what is different between them, so that a change costs what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from struct import iter_unpack
from typing import overload

from fairway.model.parts import Difference, Parts, difference
from fairway.model.view import Backend
from fairway.modes.nftables.tables import ADDRESS_BYTES, backend_bytes

Moves = dict[int, bytes | None]
"""The slots that are different, in order, and what they hold now; the last ones None: there are no such slots any more.
"""
_NO_OTHER = None, Difference[Backend]((), ())


class Slots(Sequence[bytes]):
    """The slots of one pool. Never changed: `moved` gives others, and whoever has a long pool gives them its memory."""

    __slots__ = ("_newer", "_packed", "_pool", "_since", "_size", "_where", "_width", "first")

    def __init__(
        self,
        pool: Sequence[Backend],
        packed: bytes | bytearray | None = None,
        *,
        first: int = 0,
        size: int | None = None,
    ) -> None:
        """In the pool's own order, each backend as often as it weighs, or as they are packed; ``first`` is the number
        of the first one, as the frontend has it beside other pools."""
        self.first = first
        self._pool = pool
        self._width = ADDRESS_BYTES["ip6" if pool and ":" in pool[0].address else "ip"] + 4
        self._packed = packed
        self._newer: tuple[Slots, Moves] | None = None
        self._since: tuple[Sequence[Backend] | None, Difference[Backend]] = _NO_OTHER
        self._where: dict[bytes, int] | None = None
        if size is not None:
            self._size = size
        elif packed is not None:
            self._size = len(packed) // self._width
        else:
            # Weights are given to whole pools, which have no parts then.
            self._size = len(pool) if type(pool) is Parts else _weight((pool,))

    @property
    def pool(self) -> Sequence[Backend]:
        return self._pool

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return (one for (one,) in iter_unpack(f"{self._width}s", bytes(self._bytes())))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...

    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        if not 0 <= index < self._size:
            raise IndexError(index)
        return bytes(self._bytes()[index * self._width : (index + 1) * self._width])

    def __eq__(self, other: object) -> bool:
        return self._bytes() == other._bytes() if isinstance(other, Slots) else NotImplemented

    def __hash__(self) -> int:
        return hash(bytes(self._bytes()))

    def __repr__(self) -> str:
        return f"Slots({list(self)!r})"

    def prepare(self) -> None:
        """Find out now where everybody of a long pool is, so that the first change need not."""
        if type(self._pool) is Parts:
            self._index()

    def followed(self, pool: Sequence[Backend], different: Difference[Backend]) -> Slots:
        """Those of another pool in its own order, when it is known what is different."""
        if pool is self._pool:
            return self
        found = Slots(pool, first=self.first, size=self._size - _weight(different.gone) + _weight(different.come))
        found._since = self._pool, different
        return found

    def moves(self, wanted: Slots) -> Moves:
        """What must change for them to be those of another pool: who stays keeps the slot, the last fill holes."""
        pool = wanted._pool
        if pool is self._pool:
            return {}
        if wanted._size == len(pool) and self._size == len(self._pool):
            since, different = wanted._since
            return self._moves_of_one_each(different if since is self._pool else difference(self._pool, pool))
        before = list(self)
        now = near(list(wanted), before)
        found: Moves = {number: data for number, data in enumerate(now) if before[number : number + 1] != [data]}
        found.update(dict.fromkeys(range(len(now), len(before))))
        return found

    def moved(self, wanted: Slots, moves: Moves) -> Slots:
        """The slots of the other pool, after these moves."""
        packed, pool = self._bytes(), wanted._pool
        width = max(self._width, wanted._width)  # an empty pool has no family
        if type(pool) is not Parts:
            return Slots(pool, bytes(_put(bytearray(packed), width, moves)), first=self.first)
        undo = {number: self[number] if number < self._size else None for number in moves}
        # copying 100,000 slots would take longer than all else: whoever asks for those before has them made again
        packed = packed if isinstance(packed, bytearray) else bytearray(packed)
        found = Slots(pool, _put(packed, width, moves), first=self.first)
        self._packed, self._newer = None, (found, undo)
        if self._where is not None:
            found._where, self._where = self._where, None
            found._index_again(undo, moves)
        return found

    def _moves_of_one_each(self, different: Difference[Backend]) -> Moves:
        """The same where everybody has one slot: nobody who stays is looked at."""
        gone, coming = exchanged(different)
        free = sorted(map(self._index().__getitem__ if type(self._pool) is Parts else self._find, gone))
        size = self._size - len(free) + len(coming)
        holes = set(free)
        last = (self[number] for number in range(size, self._size) if number not in holes)
        fill = chain(last, coming)
        places = chain((number for number in free if number < size), range(self._size, size))
        found: Moves = {number: next(fill) for number in places}
        found.update(dict.fromkeys(range(size, self._size)))
        return found

    def _bytes(self) -> bytes | bytearray:
        if self._packed is None:
            if self._newer is None:
                self._packed = _packed(self._pool, self._size)
            else:
                newer, undo = self._newer
                self._packed, self._newer = _put(bytearray(newer._bytes()), self._width, undo), None
        return self._packed

    def _index(self) -> dict[bytes, int]:
        """Where everybody of a long pool is. It is made once and goes along from one change to the next."""
        if self._where is None:
            self._where = {data: number for number, data in enumerate(self)}
        return self._where

    def _index_again(self, before: Moves, now: Moves) -> None:
        where = self._index()
        for number, data in before.items():
            if data is not None and where.get(data) == number:
                del where[data]
        where.update((data, number) for number, data in now.items() if data is not None)

    def _find(self, data: bytes) -> int:
        """Where one of a short pool is. Raises ValueError for a stranger."""
        packed = self._bytes()
        at = packed.index(data)
        while at % self._width:  # the end of one row and the start of the next
            at = packed.index(data, at + 1)
        return at // self._width


def _put(packed: bytearray, width: int, moves: Moves) -> bytearray:
    """The same bytes, moved."""
    for number, data in moves.items():
        if data is None:  # so are all that come after it
            del packed[number * width :]
            break
        packed[number * width : (number + 1) * width] = data
    return packed


def _packed(pool: Sequence[Backend], size: int) -> bytes:
    if size == len(pool):
        return b"".join([backend_bytes(one.address, one.port) for one in pool])
    return b"".join([backend_bytes(one.address, one.port) * one.weight for one in pool])


def _weight(parts: Iterable[Iterable[Backend]]) -> int:
    return sum([one.weight for part in parts for one in part])


def exchanged(different: Difference[Backend]) -> tuple[list[bytes], list[bytes]]:
    """Who is in one of two pools alone, in the old one and in the new one, whatever they weigh."""
    gone, come = _places(different.gone), _places(different.come)
    return [backend_bytes(*one) for one in gone if one not in come], [
        backend_bytes(*one) for one in come if one not in gone
    ]


def _places(parts: Iterable[Iterable[Backend]]) -> dict[tuple[str, int], None]:
    """Address and port of everybody, in order; nobody is in two parts."""
    return {(one.address, one.port): None for part in parts for one in part}


def near(backends: Sequence[bytes], before: Sequence[bytes]) -> tuple[bytes, ...]:
    """The backends in slots as near to those before as can be; each as often as it is named."""
    missing = Counter(backends)
    kept: list[bytes | None] = []
    for one in before[: len(backends)]:
        stays = missing[one] > 0
        missing[one] -= stays
        kept.append(one if stays else None)
    kept += [None] * (len(backends) - len(kept))
    rest = missing.elements()
    return tuple(one if one is not None else next(rest) for one in kept)
