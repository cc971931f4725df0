"""Netlink's attributes: what every message is made of.

│ size (2) │ kind (2) │ data … │ padding to four bytes │        the data may be attributes again: a nested one
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NESTED = 0x8000
KIND = 0x3FFF
"""What of a kind is no flag."""

_ATTRIBUTE = struct.Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes. ValueError when it is longer than the 64 KiB its length field can say."""
    size = len(data) + 4
    if size > 0xFFFF:
        raise ValueError(f"netlink attribute {kind & KIND} has {size} bytes; one attribute holds at most 65535")
    return _ATTRIBUTE.pack(size, kind) + data + _PAD[size & 3]


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def attributes(data: bytes | memoryview) -> dict[int, bytes]:
    """The attributes of a message or of a nested attribute by kind; the last of a kind wins."""
    return dict(each_attribute(data))


def each_attribute(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """Attributes in order, kinds without the flags, data without the padding."""
    view = bytes(data)
    position, end = 0, len(view)
    while position + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(view, position)
        if size < 4 or position + size > end:
            raise ValueError(f"netlink attribute at byte {position} says {size} bytes; {end - position} are left")
        yield kind & KIND, view[position + 4 : position + size]
        position += (size + 3) & ~3


def number(data: bytes) -> int:
    """A number in network order, of any width."""
    return int.from_bytes(data, "big")


def string(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
