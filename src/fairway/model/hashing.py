"""Consistent hashing: every node gives a client the same backend, and few clients move when one comes or goes.

    client's address ──jhash──▶ 0 … 1020 ──table──▶ backend

The table is filled as Maglev fills it (Eisenbud et al., NSDI 2016, section 3.4): the backends take turns, each taking
the next free place of a permutation of its own; who weighs half as much as the heaviest takes every other turn. The
hash is the Linux kernel's, so a rule can compute it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from fairway.model.view import Backend

PLACES = 1021
"""A prime, so that every step from 1 on visits all places; 100 backends have shares within a fifth of each other."""
SEED = 0x46616972
"""Any number, the same on all nodes for ever: another one would move every client."""
_WORD = 0xFFFFFFFF


@lru_cache(maxsize=64)
def table(backends: Sequence[Backend]) -> tuple[Backend, ...]:
    """Who has which place; their order makes no difference. Raises ValueError when there is nobody."""
    if not backends:
        raise ValueError("a table needs at least one backend")
    turns = sorted(backends, key=lambda one: (one.address, one.port))
    walks = [_walk(one) for one in turns]
    heaviest = max(one.weight for one in turns)
    credit = [0] * len(turns)
    found: list[Backend | None] = [None] * PLACES
    taken = 0
    while True:
        for index, backend in enumerate(turns):
            credit[index] += backend.weight
            if credit[index] < heaviest:
                continue
            credit[index] -= heaviest
            place, step = walks[index]
            while found[place] is not None:
                place = (place + step) % PLACES
            found[place] = backend
            walks[index] = (place + step) % PLACES, step
            taken += 1
            if taken == PLACES:
                return tuple(one for one in found if one is not None)


def chosen(backends: Sequence[Backend], client: str) -> Backend:
    """The backend of a client's address. Raises ValueError when there is none to choose from."""
    return table(backends)[place_of(ipaddress.ip_address(client).packed)]


def place_of(client: bytes) -> int:
    """The place of a client's address, as nf_tables scales the hash to it."""
    return jhash(client, SEED) * PLACES >> 32


def _walk(backend: Backend) -> tuple[int, int]:
    """Where a backend's permutation begins, and its step."""
    digest = hashlib.blake2b(str(backend).encode(), digest_size=16).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    return first % PLACES, step % (PLACES - 1) + 1


def jhash(data: bytes, seed: int) -> int:
    """The kernel's `jhash` (Bob Jenkins' lookup3) of bytes in little-endian words."""
    a = b = c = (0xDEADBEEF + len(data) + seed) & _WORD
    while len(data) > 12:
        a, b, c = _mix((a + _word(data, 0)) & _WORD, (b + _word(data, 4)) & _WORD, (c + _word(data, 8)) & _WORD)
        data = data[12:]
    if not data:
        return c
    return _final((a + _word(data, 0)) & _WORD, (b + _word(data, 4)) & _WORD, (c + _word(data, 8)) & _WORD)


def _word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = (a - c) & _WORD ^ _rotate(c, by)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, by)) & _WORD
        a, b, c = b, c, a
    return b
