"""Protobuf on the wire, without generated code: what every message is made of. Pure.

A message is a sequence of fields, a field is its number and its kind, then its content::

    field 4, length-delimited: (4 << 3 | 2) ─▶ 0x22, length, bytes

What the numbers mean is the business of whoever knows the message: `gnostic` writes OpenAPI documents, `protobuf` reads
objects, `storage.etcd_messages` talks to etcd.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fairway.objects.codec import DecodeError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL = tuple(bytes([value]) for value in range(0x80))


class Field(NamedTuple):
    """One field on the wire: a number for a varint, bytes for everything else."""

    number: int
    value: int | bytes


def fields_of(data: bytes) -> Iterator[Field]:
    """The fields of a message in the order of the wire; raises `DecodeError`."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield Field(number, value)
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise DecodeError(f"unknown wire type {wire} in protobuf")
        if position + length > len(data):
            raise DecodeError("the protobuf ends in the middle of a field")
        yield Field(number, data[position : position + length])
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise DecodeError("the protobuf ends in the middle of a number")


def as_bytes(value: int | bytes) -> bytes:
    """The content of a field that is not a number; raises `DecodeError`."""
    if isinstance(value, int):
        raise DecodeError("the protobuf has a number where text or a message belongs")
    return value


def as_number(value: int | bytes) -> int:
    """The content of a field as a signed number of 64 bits; raises `DecodeError`."""
    if isinstance(value, bytes):
        raise DecodeError("the protobuf has text where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    """A whole number, not negative: seven bits a byte, the lowest first."""
    if value < len(_SMALL):
        return _SMALL[value]
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def part(field: int, content: bytes) -> bytes:
    """A field with bytes: a text, or another message."""
    return varint(field << 3 | _BYTES) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    """A field with a number; zero is not written, as it is what a field that is not there means."""
    return varint(field << 3 | _VARINT) + varint(value) if value else b""
