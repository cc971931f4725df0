"""Who has which slot of a pool: numbers from 0 on without a hole, since one of so many is drawn.

    before   0 A   1 B   2 C   3 D
    B leaves 0 A   1 D   2 C              the last fills the hole, everybody else stays
    E comes  0 A   1 D   2 C   3 E

Backends are their bytes (address, port), all of one size, and lie one behind the other: 100,000 of them are 800 KB.
Pools are compared by what is different between them, so that a change costs what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
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

    __slots__ = ("_newer", "_packed", "_pool", "_since", "_where", "_width", "first", "size")

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
            self.size = size
        elif packed is not None:
            self.size = len(packed) // self._width
        else:
            # Weights are given to whole pools, which have no parts then.
            self.size = len(pool) if type(pool) is Parts else sum([one.weight for one in pool])

    @property
    def pool(self) -> Sequence[Backend]:
        return self._pool

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return (one for (one,) in iter_unpack(f"{self._width}s", bytes(self._bytes())))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...

    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        if not 0 <= index < self.size:
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

    def followed(self, pool: Sequence[Backend], different: Difference[Backend], size: int) -> Slots:
        """So many of another pool in its own order, when it is known what is different."""
        if pool is self._pool:
            return self
        found = Slots(pool, first=self.first, size=size)
        found._since = self._pool, different
        return found

    def moves(self, wanted: Slots) -> Moves:
        """What must change for them to be those of another pool: who stays keeps the slot, the last fill holes."""
        pool = wanted._pool
        if pool is self._pool:
            return {}
        if wanted.size == len(pool) and self.size == len(self._pool):
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
        undo = {number: self[number] if number < self.size else None for number in moves}
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
        gone, come = exchanged(different)
        before, size = self.size, self.size - len(gone) + len(come)
        if not gone:
            return dict(zip(range(before, size), come, strict=True))
        where = self._index().__getitem__ if type(self._pool) is Parts else self._find
        free = dict.fromkeys(sorted(map(where, gone)))
        last = [self[number] for number in range(size, before) if number not in free]
        places = [*[number for number in free if number < size], *range(before, size)]
        found: Moves = dict(zip(places, [*last, *come], strict=True))
        found.update(dict.fromkeys(range(size, before)))
        return found

    def _bytes(self) -> bytes | bytearray:
        if self._packed is None:
            if self._newer is None:
                self._packed = _packed(self._pool, self.size)
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


def exchanged(different: Difference[Backend]) -> tuple[list[bytes], list[bytes]]:
    """Who is in one of two pools alone, in the old one and in the new one, whatever they weigh."""
    gone, come = different
    left = {(one.address, one.port) for part in gone for one in part} if come else ()
    both = {at for part in come for one in part if (at := (one.address, one.port)) in left} if left else ()
    return _bytes_of(gone, both) if gone else [], _bytes_of(come, both) if come else []


def _bytes_of(parts: Iterable[Iterable[Backend]], but: Container[tuple[str, int]]) -> list[bytes]:
    """Everybody's, in order, but for those who are at these places; nobody is in two parts."""
    return [
        backend_bytes(one.address, one.port)
        for part in parts
        for one in part
        if not but or (one.address, one.port) not in but
    ]


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
