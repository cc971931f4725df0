"""Marks on packets that lead pods and the node itself to a virtual server of their own.

    0x7a │ 8 bits of a number │ 0 0 │ 14 bits of it             bits 31-24, 23-16, 15-14, 13-0

With policy Local a frontend has this node's backends for clients from outside, and the cluster's for the others. IPVS
finds a virtual server by a packet's whole mark before it looks at the address, so the others' packets get a mark.

A frontend's number is a hash of what it is, so that every start of a proxy finds the same; when somebody has it
already, the next one that is free. Its last two bits name the protocol, which IPVS does not know of a mark. Bits 14 and
15 of a mark are Kubernetes' own; the bit that asks for masquerade stays free, too, wherever it is configured to be. The
highest bit is clear because ipvsadm takes marks for signed numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from fairway.model.view import FrontendKey

_TAG, _TAG_MASK = 0x7A000000, 0xFF000000
_KUBERNETES = frozenset((14, 15))
_NUMBER_BITS = 24
_PROTOCOLS = ("TCP", "UDP", "SCTP", "")


def tag(masquerade_bit: int) -> tuple[int, int]:
    """What all our marks have in common, and in which bits."""
    others = ~(1 << masquerade_bit)
    return _TAG & others, _TAG_MASK & others


def is_ours(mark: int, masquerade_bit: int) -> bool:
    value, mask = tag(masquerade_bit)
    return mark & mask == value


def protocol_of(mark: int, masquerade_bit: int) -> str:
    """What a mark of ours is for."""
    low, high = _places(masquerade_bit)[:2]
    return _PROTOCOLS[(mark >> low & 1) | (mark >> high & 1) << 1]


def of_nobody(masquerade_bit: int) -> int:
    """A mark that no frontend has and no packet gets."""
    value, _ = tag(masquerade_bit)
    return value | sum(1 << place for place in _places(masquerade_bit))


def choose(key: FrontendKey, masquerade_bit: int, is_free: Callable[[int], bool]) -> int:
    """The first of a frontend's marks that is free. Raises StopIteration when none is, after half a million."""
    return next(one for one in _marks(key, masquerade_bit) if is_free(one))


def _marks(key: FrontendKey, masquerade_bit: int) -> Iterator[int]:
    places = _places(masquerade_bit)
    value, _ = tag(masquerade_bit)
    first, protocol = zlib.crc32(str(key).encode()), _PROTOCOLS.index(key.protocol)
    for drawn in range(first, first + (1 << len(places) - 2)):
        number = drawn << 2 | protocol
        yield value | sum((number >> index & 1) << place for index, place in enumerate(places))


def _places(masquerade_bit: int) -> list[int]:
    """The bits of a mark that its number is in."""
    return [one for one in range(_NUMBER_BITS) if one not in _KUBERNETES and one != masquerade_bit]
