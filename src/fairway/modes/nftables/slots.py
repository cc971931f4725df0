"""Who has which slot of a pool: numbers from 0 on without a hole, since one of so many is drawn.

    before   0 A   1 B   2 C   3 D
    B leaves 0 A   1 D   2 C              the last fills the hole, everybody else stays
    E comes  0 A   1 D   2 C   3 E

Backends are their bytes (address, port), all of one size, and lie one behind the other: 100,000 of them are 800 KB. A
pool that is made of parts is compared part by part, so that a change of it costs what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import overload

from fairway.model.parts import Parts, difference
from fairway.model.view import Backend
from fairway.modes.nftables.tables import ADDRESS_BYTES, backend_bytes

Moves = dict[int, bytes | None]
"""The slots that are different, and what they hold now; None: there is no such slot any more."""


class Slots(Sequence[bytes]):
    """The slots of one pool. Never changed: `moved` gives others."""

    __slots__ = ("_packed", "_pool", "_size", "_where", "_width")

    def __init__(self, pool: Sequence[Backend], rows: Iterable[bytes] | None = None) -> None:
        """In the pool's own order, each backend as often as it weighs; or as the rows say."""
        self._pool = pool
        self._width = ADDRESS_BYTES["ip6" if pool and ":" in pool[0].address else "ip"] + 4
        self._packed: bytes | bytearray | None = None
        self._where: dict[bytes, int] | None = None
        if rows is not None:
            self._packed = b"".join(rows)
            self._size = len(self._packed) // self._width
        else:
            # Weights are given to whole pools, which have no parts then.
            self._size = len(pool) if type(pool) is Parts else sum([one.weight for one in pool])

    @property
    def pool(self) -> Sequence[Backend]:
        return self._pool

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        if self._packed is None and type(self._pool) is not Parts:
            return _rows(self._pool)
        packed, width = self._bytes(), self._width
        return (bytes(packed[at : at + width]) for at in range(0, len(packed), width))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...

    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        if not 0 <= index < self._size:
            raise IndexError(index)
        if self._packed is None and self._size == len(self._pool) and type(self._pool) is not Parts:
            one = self._pool[index]
            return backend_bytes(one.address, one.port)
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

    def moves(self, pool: Sequence[Backend]) -> Moves:
        """What must change for them to be those of another pool: who stays keeps the slot, the last fill holes."""
        if pool is self._pool:
            return {}
        wanted = Slots(pool)
        if len(wanted) == len(pool) and len(self) == len(self._pool):
            return self._moves_of_one_each(pool)
        before = list(self)
        now = near(list(wanted), before)
        found: Moves = {number: data for number, data in enumerate(now) if before[number : number + 1] != [data]}
        found.update(dict.fromkeys(range(len(now), len(before))))
        return found

    def moved(self, pool: Sequence[Backend], moves: Moves) -> Slots:
        """The slots of the other pool, after these moves."""
        found = Slots(pool, ())
        packed, width = bytearray(self._bytes()), self._width
        found._width, found._size = width, self._size
        for number in sorted(moves):
            data = moves[number]
            if data is None:
                found._size = min(found._size, number)
            else:
                packed[number * width : (number + 1) * width] = data
                found._size = max(found._size, number + 1)
        del packed[found._size * width :]
        found._packed = packed if type(pool) is Parts else bytes(packed)
        self._hand_on(found, moves)
        return found

    def _moves_of_one_each(self, pool: Sequence[Backend]) -> Moves:
        """The same where everybody has one slot: nobody who stays is looked at twice."""
        gone, come = difference(self._pool, pool)
        left, new = _places(gone), _places(come)
        where = self._index().__getitem__ if type(self._pool) is Parts else self._find
        free = sorted(where(backend_bytes(*one)) for one in left.keys() - new.keys())
        coming = [backend_bytes(*one) for one in new if one not in left]
        size = self._size - len(free) + len(coming)
        holes = set(free)
        last = (self[number] for number in range(size, self._size) if number not in holes)
        fill = chain(last, coming)
        places = chain((number for number in free if number < size), range(self._size, size))
        found: Moves = {number: next(fill) for number in places}
        found.update(dict.fromkeys(range(size, self._size)))
        return found

    def _bytes(self) -> bytes | bytearray:
        """Kept once it differs from the pool's own order, and always for a long pool."""
        if self._packed is not None:
            return self._packed
        packed = b"".join(_rows(self._pool))
        if type(self._pool) is Parts:
            self._packed = packed
        return packed

    def _index(self) -> dict[bytes, int]:
        """Where everybody of a long pool is. It is made once and goes along from one change to the next."""
        if self._where is None:
            self._where = {data: number for number, data in enumerate(self)}
        return self._where

    def _find(self, data: bytes) -> int:
        """Where one of a short pool is. Raises ValueError for a stranger."""
        packed = self._bytes()
        at = packed.index(data)
        while at % self._width:  # the end of one row and the start of the next
            at = packed.index(data, at + 1)
        return at // self._width

    def _hand_on(self, to: Slots, moves: Moves) -> None:
        if self._where is None or type(to._pool) is not Parts:
            return
        where, self._where = self._where, None
        for number in moves:
            if number < self._size and where.get(self[number]) == number:
                del where[self[number]]
        where.update((data, number) for number, data in moves.items() if data is not None)
        to._where = where


def _rows(pool: Iterable[Backend]) -> Iterator[bytes]:
    for one in pool:
        data = backend_bytes(one.address, one.port)
        if one.weight == 1:
            yield data
        else:
            yield from repeat(data, one.weight)


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
