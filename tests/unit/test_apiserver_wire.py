"""Protobuf on the wire: what is written is read again, and what is damaged is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.wire import Field, as_bytes, as_number, fields_of, number, part, varint
from fairway.objects.codec import DecodeError

FIELD_NUMBERS = st.integers(1, 2**29 - 1)
CONTENTS = st.integers(1, 2**64 - 1) | st.binary(max_size=300)


def test_the_bytes_are_those_of_the_format() -> None:
    assert number(1, 150) == b"\x08\x96\x01"
    assert part(2, b"testing") == b"\x12\x07testing"


@given(st.lists(st.tuples(FIELD_NUMBERS, CONTENTS)))
def test_fields_come_back_in_order(fields: list[tuple[int, int | bytes]]) -> None:
    data = b"".join(number(one, what) if isinstance(what, int) else part(one, what) for one, what in fields)
    assert [tuple(field) for field in fields_of(data)] == fields


def test_a_zero_is_not_written() -> None:
    assert number(7, 0) == b""


def test_fixed_fields_are_bytes() -> None:
    assert list(fields_of(b"\x09abcdefgh\x15wxyz")) == [Field(1, b"abcdefgh"), Field(2, b"wxyz")]


def test_a_number_above_the_middle_is_negative() -> None:
    assert as_number(2**64 - 1) == -1
    assert as_number(2**63 - 1) == 2**63 - 1


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    try:
        found = list(fields_of(data))
    except DecodeError:
        return
    assert sum(len(field.value) if isinstance(field.value, bytes) else 1 for field in found) <= len(data)


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x12\x05abc", b"\x0b", b"\x08" + b"\xff" * 11, varint(1 << 3 | 1) + b"abc"]
)
def test_damage_is_said(data: bytes) -> None:
    with pytest.raises(DecodeError, match="protobuf"):
        list(fields_of(data))


def test_a_field_of_the_other_kind_is_refused() -> None:
    with pytest.raises(DecodeError, match="number where text"):
        as_bytes(1)
    with pytest.raises(DecodeError, match="text where a number"):
        as_number(b"1")
