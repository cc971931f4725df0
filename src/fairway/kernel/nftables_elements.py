"""Elements of sets and maps ↔ nf_tables messages, both directions: as many as a cluster has backends.

list ─ element ─┬─ key { value }
                ├─ data { value }, or a verdict
                └─ user data: the comment
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from fairway.kernel import nftables_expressions as expressions
from fairway.kernel import nftables_userdata as userdata
from fairway.kernel.attributes import (
    KIND,
    NESTED,
    attribute,
    attributes,
    be32,
    each_attribute,
    nested,
    number,
    string,
    text,
)
from fairway.kernel.nfnetlink import F_CREATE, SUBSYSTEM_NFTABLES, Request
from fairway.kernel.nftables_codec import DELETE_ELEMENTS, NEW_ELEMENTS, NFPROTO, length
from fairway.modes.nftables.expressions import Jump
from fairway.modes.nftables.tables import VERDICT_DATA, Element, Family, Set, printed_element

_LIST_BYTES = 60_000
"""Bytes of elements in one message: a list is one attribute, and an attribute ends at 64 KiB."""
_INTERVAL_END = 1
_EXPRESSION, _COUNTER_PACKETS = 7, 2
_NESTED_ELEMENT = 1 | NESTED
_ELEMENT_LIST = 3 | NESTED
_FEW = 50
"""Elements that fit in one list, whatever they have."""
_AT_ONCE = 800
"""Elements that are packed at a time: of most sets as many as nearly fill a message."""
_ELEMENT_HEAD = struct.Struct("=HH")
_DATA_HEAD = struct.Struct("=HHHH")
_PLAIN_DATA = (2, 1)


def new_elements(family: Family, table: str, declared: Set, elements: Sequence[Element]) -> list[Request]:
    asking = _asking(NEW_ELEMENTS, family, table, declared)
    return [asking.request(some) for some in _lists(elements, asking.packed)]


def delete_elements(family: Family, table: str, declared: Set, elements: Sequence[Element]) -> list[Request]:
    asking = _asking(DELETE_ELEMENTS, family, table, declared)
    return [asking.request(some) for some in _lists(elements, asking.packed_keys)]


_Pack = Callable[[Iterable[Element]], list[bytes]]


class _Asking:
    """All but the elements of a request that is about a set's elements."""

    __slots__ = ("declared", "family", "flags", "heads", "kind", "pointer", "says", "start")

    def __init__(self, kind: int, family: Family, table: str, declared: Set) -> None:
        adds = kind == NEW_ELEMENTS
        self.kind, self.declared, self.family = kind, declared, NFPROTO[family]
        self.flags = F_CREATE if adds else 0
        self.says = f"{'add' if adds else 'delete'} element {family} {table} {declared.name}"
        self.start = text(1, table) + text(2, declared.name)
        self.pointer = _Pointer(declared, len(self.start))
        self.heads = None if declared.interval else _heads(declared.key, declared.data)

    def request(self, some: bytes) -> Request:
        """With a list of elements."""
        body = self.start + attribute(_ELEMENT_LIST, some)
        return Request(SUBSYSTEM_NFTABLES, self.kind, body, self.says, self.flags, self.family, 0, self.pointer)

    def packed(self, elements: Iterable[Element]) -> list[bytes]:
        """The elements' attributes. This runs for each backend of a cluster: no call in it that need not be."""
        if self.heads is None:
            return list(_packed_intervals(self.declared, elements))
        start, between = self.heads.start, self.heads.between
        return [
            start + one.key + between + one.data
            if type(one.data) is bytes and not one.comment
            else _packed(self.heads, one)
            for one in elements
        ]

    def packed_keys(self, elements: Iterable[Element]) -> list[bytes]:
        """Those of their keys alone."""
        if self.heads is None:
            return list(_packed_intervals(self.declared, [Element(one.set, one.key) for one in elements]))
        start, end = self.heads.key_alone, self.heads.key_pad
        return [start + one.key + end for one in elements]


@lru_cache(maxsize=256)
def _asking(kind: int, family: Family, table: str, declared: Set) -> _Asking:
    return _Asking(kind, family, table, declared)


class _Pointer:
    """Finds the words for the element that the kernel pointed at when it refused a message."""

    __slots__ = ("declared", "start")

    def __init__(self, declared: Set, start: int) -> None:
        self.declared, self.start = declared, start

    def __call__(self, body: bytes, offset: int | None) -> str:
        items = list(each_attribute(body[self.start + 4 :]))
        position = self.start + 4
        for _, item in items:
            end = position + 4 + len(item)
            if len(items) == 1 or (offset is not None and position <= offset < end):
                return "{ " + ", ".join(_readable(self.declared, item)) + " }"
            position = end
        return f"{{ {len(items)} elements }}"


def _readable(declared: Set, item: bytes) -> Iterator[str]:
    element, _ = _read_element(declared.name, item)
    yield printed_element(declared, element)


def _lists(elements: Sequence[Element], pack: _Pack) -> Iterable[bytes]:
    """Lists that fit in one attribute each."""
    if len(elements) > _FEW:
        return _many_lists(elements, pack)
    return (b"".join(pack(elements)),) if elements else ()


def _many_lists(elements: Iterable[Element], pack: _Pack) -> Iterator[bytes]:
    """Of a whole cluster's elements only one list is in memory at a time."""
    left = iter(elements)
    while some := list(islice(left, _AT_ONCE)):
        packed = pack(some)
        whole = b"".join(packed)
        if len(whole) <= _LIST_BYTES:
            yield whole
        else:
            yield from _chunks(packed)


def _chunks(packed: Iterable[bytes]) -> Iterator[bytes]:
    chunk: list[bytes] = []
    size = 0
    for item in packed:
        size += len(item)
        if size > _LIST_BYTES:
            yield b"".join(chunk)
            chunk, size = [], len(item)
        chunk.append(item)
    yield b"".join(chunk)


def _packed(heads: _Heads, element: Element) -> bytes:
    """One element's attributes, whatever it has."""
    data = element.data
    if data is None:
        tail = b""
    else:
        tail = nested(2, expressions.verdict(data)) if isinstance(data, Jump) else heads.data + data
    if element.comment:
        tail += attribute(6, userdata.comment(element.comment))
    head = _ELEMENT_HEAD.pack(4 + heads.size + len(tail), _NESTED_ELEMENT)
    return head + heads.key + element.key + heads.key_pad + tail


class _Heads(NamedTuple):
    """What stands before and between the bytes of key and data, the same in all elements of a set."""

    size: int
    """Of a key with its head and padding."""
    start: bytes
    """The heads of an element that has key { value } and data { value } and nothing else, as nearly all do."""
    key_alone: bytes
    """The same of one that has a key only."""
    key: bytes
    key_pad: bytes
    data: bytes
    between: bytes
    """Key and data."""


@lru_cache(maxsize=256)
def _heads(key: tuple[str, ...], data: tuple[str, ...] | None) -> _Heads:
    size = length(key)
    pad = b"\0" * (-size % 4)
    wide = length(data) if data and data != VERDICT_DATA else 0
    key_head = _DATA_HEAD.pack(size + 8, _NESTED_ELEMENT, size + 4, 1)
    whole = size + 8 + len(pad)
    start = _ELEMENT_HEAD.pack(4 + whole + wide + 8, _NESTED_ELEMENT) + key_head
    alone = _ELEMENT_HEAD.pack(4 + whole, _NESTED_ELEMENT) + key_head
    data_head = _DATA_HEAD.pack(wide + 8, 2 | NESTED, wide + 4, 1)
    return _Heads(whole, start, alone, key_head, pad, data_head, pad + data_head)


def _packed_intervals(declared: Set, elements: Iterable[Element]) -> Iterator[bytes]:
    size = length(declared.key)
    for element in elements:
        comment = (attribute(6, userdata.comment(element.comment)),) if element.comment else ()
        yield nested(1, expressions.value(1, element.key[:size]), *comment)
        if len(element.key) > size:
            yield nested(1, be32(3, _INTERVAL_END), expressions.value(1, element.key[size:]))


def read_elements(body: bytes) -> tuple[str, str, list[tuple[Element, bool]]]:
    """The table's and the set's name, and the elements, each with whether it is the end of an interval."""
    at = attributes(body)
    name = string(at[2])
    return string(at[1]), name, [_read_element(name, item) for _, item in each_attribute(at.get(3, b""))]


def read_plain_elements(body: bytes) -> Iterator[Element]:
    """The elements of a set without intervals. This runs once for each backend of a cluster, too."""
    at = attributes(body)
    name = string(at[2])
    for _, item in each_attribute(at.get(3, b"")):
        # key { value } and data { value } with nothing else, which is what nearly all are, need no parser
        whole, _, size, _ = _DATA_HEAD.unpack_from(item)
        start = (whole + 3) & ~3
        if len(item) == start:
            yield Element(name, item[8 : 4 + size])
            continue
        if len(item) > start + 8:
            other, kind, data_size, value = _DATA_HEAD.unpack_from(item, start)
            if start + other == len(item) and (kind & KIND, value) == _PLAIN_DATA and data_size + 4 == other:
                yield Element(name, item[8 : 4 + size], item[start + 8 :])
                continue
        yield _read_element(name, item)[0]


def _read_element(name: str, item: bytes) -> tuple[Element, bool]:
    at = attributes(item)
    key = attributes(at[1])[1] if 1 in at else b""  # the kernel lists an interval without end without key, too
    data = expressions.data_of(at[2]) if 2 in at else None
    end = bool(number(at.get(3, b"\0")) & _INTERVAL_END)
    return Element(name, key, data, userdata.comment_of(at[6]) if 6 in at else ""), end


def read_counters(body: bytes) -> Iterator[tuple[bytes, int]]:
    """The keys of a counted set's elements, and the packets that each was found for."""
    for _, item in each_attribute(attributes(body).get(3, b"")):
        at = attributes(item)
        counter = attributes(attributes(at.get(_EXPRESSION, b"")).get(2, b""))
        if 1 in at and _COUNTER_PACKETS in counter:
            yield attributes(at[1])[1], int.from_bytes(counter[_COUNTER_PACKETS], "big")


def join_intervals(elements: Iterable[tuple[Element, bool]]) -> Iterator[Element]:
    """Starts and ends, in whatever order the kernel lists them, as intervals."""
    found = list(elements)
    ends = sorted(element.key for element, end in found if end)
    starts = sorted((element for element, end in found if not end), key=lambda one: one.key)
    for start in starts:
        after = next((key for key in ends if key > start.key), b"")
        yield replace(start, key=start.key + after)
