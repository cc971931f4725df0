"""A long sequence made of parts, so that one state of it shares with the next whatever did not change.

    before  ├─ part ─┬─ part ─┬─ part
    after   ├─ same ─┴─ new ──┴─ same          what is different is found without a look into the others

A pool of 100,000 backends is a thousand parts, one for each EndpointSlice.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar, cast, final, overload
from weakref import ReferenceType, ref

from fairway.objects.ends import common_ends

T = TypeVar("T")
R = TypeVar("R")


_NOTHING: dict[object, Any] = {}
_MISSING = object()


class Part(tuple[T, ...]):
    """A tuple that keeps what was made of it; see `derived`."""

    made: dict[object, Any] = _NOTHING


def derived(part: tuple[T, ...], make: Callable[[tuple[T, ...]], R]) -> R:
    """What ``make``, a pure function, says of these items; a `Part` is asked once."""
    if not isinstance(part, Part):
        return make(part)
    if part.made is _NOTHING:
        part.made = {}
    elif (known := part.made.get(make, _MISSING)) is not _MISSING:
        return cast(R, known)
    found = part.made[make] = make(part)
    return found


def derived_each(parts: Iterable[tuple[T, ...]], make: Callable[[tuple[T, ...]], R]) -> list[R]:
    """The same of every part. After a change nearly all have been asked before, which takes no call."""
    found: list[R] = []
    for part in parts:
        known: Any = part.made.get(make, _MISSING) if type(part) is Part else _MISSING
        found.append(derived(part, make) if known is _MISSING else known)
    return found


_MOST_REPLACED = 64
"""Parts that are replaced beside the others before all are put into one row again, which touches every one of them."""


@final
class Parts(Sequence[T], Generic[T]):
    """Reads as one tuple of all items, and equals it. Parts may be empty."""

    __slots__ = ("__weakref__", "_at", "_before", "_replaced", "_row", "_size")

    def __init__(self, parts: Iterable[tuple[T, ...]]) -> None:
        self._row = tuple(parts)
        self._replaced: dict[int, tuple[T, ...]] = {}
        """What stands in other places than in the row, which is that of the `Parts` that this was made of."""
        self._size = sum(map(len, self._row))
        self._before: ReferenceType[Parts[T]] | None = None
        self._at = 0

    @property
    def parts(self) -> tuple[tuple[T, ...], ...]:
        if self._replaced:
            row = list(self._row)
            for at, part in self._replaced.items():
                row[at] = part
            self._row, self._replaced = tuple(row), {}
        return self._row

    def part(self, at: int) -> tuple[T, ...]:
        """One of them, without a look at the others."""
        return self._replaced[at] if at in self._replaced else self._row[at]

    def replaced(self, at: int, part: tuple[T, ...]) -> Parts[T]:
        """The same with another part in one place, which knows where: `difference` need not look for it."""
        found: Parts[T] = Parts(())
        found._row = self._row if len(self._replaced) < _MOST_REPLACED else self.parts
        found._replaced = {**self._replaced, at: part}
        found._size = self._size - len(self.part(at)) + len(part)
        found._before, found._at = ref(self), at
        return found

    def came_from(self, other: Parts[T]) -> int | None:
        """Which part was replaced, if this was made of the other one."""
        return self._at if self._before is not None and self._before() is other else None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.parts)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if index == 0 and self._size:  # asked at each change, for the family; `parts` would make a row of all
            return next(part[0] for part in map(self.part, range(len(self._row))) if part)
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Parts):
            return self._size == other._size and all(
                map(operator.eq, *map(chain.from_iterable, difference(self, other)))
            )
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Parts({self.parts!r})"


class Difference(NamedTuple, Generic[T]):
    """From the first that is another one to the last: what the old sequence has there, and what the new, in parts."""

    gone: tuple[tuple[T, ...], ...]
    come: tuple[tuple[T, ...], ...]


_SAME: Difference[Any] = Difference((), ())


def parts_of(sequence: Sequence[T]) -> tuple[tuple[T, ...], ...]:
    if isinstance(sequence, Parts):
        return sequence.parts
    return (sequence if isinstance(sequence, tuple) else tuple(sequence),)


def difference(old: Sequence[T], new: Sequence[T]) -> Difference[T]:
    """What is not the very same item in both, without what both begin and end with.

    Looks for other parts first, and then into these alone.
    """
    if old is new:
        return _SAME
    if isinstance(old, tuple) and isinstance(new, tuple):
        return _within(old, new)
    if isinstance(old, Parts) and isinstance(new, Parts) and (at := new.came_from(old)) is not None:
        return _within(old.part(at), new.part(at))
    before, after = parts_of(old), parts_of(new)
    ends = common_ends(before, after, operator.is_not)
    gone, come = tuple(ends.between(before)), tuple(ends.between(after))
    return _within(*gone, *come) if len(gone) == len(come) == 1 else Difference(gone, come)


def _within(old: tuple[T, ...], new: tuple[T, ...]) -> Difference[T]:
    first, last = common_ends(old, new, operator.is_not)
    gone, come = old[first : len(old) - last], new[first : len(new) - last]
    return Difference((gone,) if gone else (), (come,) if come else ())
