"""What is taken in the cluster, kept so that a free number is found at once.

Numbers are bits in pages of 1024, and only pages with a taken number exist::

    pages  { 0x2a58000: 0b…0010011, 0x2a58003: 0b1 }        10.96.0.0, 10.96.0.1, 10.96.0.4, 10.96.12.0

A full /12 (a million addresses) takes about a quarter of a megabyte, an empty /64 nothing; looking for a free number
costs one step a page, never one a Service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from fairway.apiserver.validation.formats import parse_address
from fairway.runtime.clock import rfc3339

_BITS = 10
_SIZE = 1 << _BITS
_FULL = (1 << _SIZE) - 1


class Numbers:
    """A set of whole numbers that knows its gaps."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}
        self._count = 0

    def __contains__(self, number: int) -> bool:
        return bool(self._pages.get(number >> _BITS, 0) >> (number & (_SIZE - 1)) & 1)

    def __len__(self) -> int:
        return self._count

    def add(self, number: int) -> None:
        if number not in self:
            self._count += 1
            page = number >> _BITS
            self._pages[page] = self._pages.get(page, 0) | 1 << (number & (_SIZE - 1))

    def discard(self, number: int) -> None:
        if number in self:
            self._count -= 1
            page = number >> _BITS
            left = self._pages[page] & ~(1 << (number & (_SIZE - 1)))
            if left:
                self._pages[page] = left
            else:
                del self._pages[page]

    def first_gap(self, first: int, last: int) -> int | None:
        """The smallest number from ``first`` to ``last`` that is not in the set."""
        for page in range(first >> _BITS, (last >> _BITS) + 1):
            gaps = ~self._pages.get(page, 0) & _FULL
            base = page << _BITS
            if base < first:
                gaps &= _FULL << (first - base)
            if gaps:
                number = base + (gaps & -gaps).bit_length() - 1
                return number if number <= last else None
        return None


@dataclass(frozen=True)
class Rest:
    """``holder`` is who had the address, ``namespace/name``; it is free ``until`` then, in seconds since 1970."""

    holder: str
    until: float


class Ledger:
    """Which addresses and ports are taken: the `Taken` of the allocator.

    It is fed with the claims that were written (``ip/10.96.0.7``, ``port/30080``) and forgets those given up. What is
    promised counts as taken until it is written, or is not: several are on their way at the same time. An address may
    rest for a while before it is given to another Service: it counts as taken for all but the one that had it.
    """

    def __init__(self, claims: Iterable[str] = ()) -> None:
        self._numbers = {"IPv4": Numbers(), "IPv6": Numbers(), "port": Numbers()}
        self._resting: dict[str, Rest] = {}
        self._promised: set[str] = set()
        self.claim(claims)

    def __contains__(self, claim: str) -> bool:
        space, number = _place(claim)
        return number in self._numbers[space]

    def __len__(self) -> int:
        return sum(map(len, self._numbers.values()))

    def claim(self, claims: Iterable[str]) -> None:
        for one in claims:
            space, number = _place(one)
            self._numbers[space].add(number)
            self._resting.pop(one, None)
            self._promised.discard(one)

    @contextmanager
    def promised(self, claims: Iterable[str]) -> Iterator[None]:
        """Keep what is about to be claimed from everybody else while the block runs."""
        found = [one for one in claims if one not in self]
        for one in found:
            space, number = _place(one)
            self._numbers[space].add(number)
        self._promised.update(found)
        try:
            yield
        finally:
            # What has been claimed in the meantime is promised no longer.
            self.release([one for one in found if one in self._promised])

    def forget(self, kind: str) -> None:
        """Everything of one kind of claims, ``ip`` or ``port``."""
        for space in ("port",) if kind == "port" else ("IPv4", "IPv6"):
            self._numbers[space] = Numbers()
        if kind == "ip":
            self._resting.clear()

    def put_to_rest(self, claim: str, rest: Rest) -> None:
        self.claim([claim])
        self._resting[claim] = rest

    def release(self, claims: Iterable[str]) -> None:
        for one in claims:
            space, number = _place(one)
            self._numbers[space].discard(number)
            self._resting.pop(one, None)
            self._promised.discard(one)

    @property
    def resting(self) -> Mapping[str, Rest]:
        return self._resting

    def address(self, address: str, asker: str = "") -> bool:
        claim = f"ip/{address}"
        rest = self._resting.get(claim)
        return claim in self and (rest is None or rest.holder != asker)

    def rest(self, address: str) -> str:
        rest = self._resting.get(f"ip/{address}")
        return rfc3339(rest.until) if rest else ""

    def port(self, port: int) -> bool:
        return port in self._numbers["port"]

    def free(self, space: str, first: int, last: int, start: int) -> int | None:
        numbers = self._numbers[space]
        found = numbers.first_gap(start, last)
        return numbers.first_gap(first, start - 1) if found is None else found


@lru_cache(maxsize=4096)
def _place(claim: str) -> tuple[str, int]:
    kind, _, value = claim.partition("/")
    if kind == "port":
        return "port", int(value)
    address = parse_address(value)
    assert address is not None
    return f"IPv{address.version}", int(address)
