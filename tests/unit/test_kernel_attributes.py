"""Netlink's attributes as bytes."""

from __future__ import annotations

import struct

import pytest

from fairway.kernel.attributes import attribute, attributes, be32, each_attribute, nested, number, string, text


def test_an_attribute_is_padded_to_four_bytes_and_says_its_length_without_the_padding() -> None:
    assert attribute(7, b"abcde") == struct.pack("=HH", 9, 7) + b"abcde\0\0\0"


def test_an_attribute_that_is_too_long_is_an_error_that_says_how_long() -> None:
    assert len(attribute(1, bytes(65531))) == 65536
    with pytest.raises(ValueError, match="attribute 1 has 65536 bytes"):
        attribute(1, bytes(65532))


def test_attributes_come_back_as_they_went_in() -> None:
    body = text(1, "fairway") + be32(2, 77) + nested(3, attribute(1, b"x"))
    found = attributes(body)
    assert string(found[1]) == "fairway"
    assert number(found[2]) == 77
    assert attributes(found[3]) == {1: b"x"}


@pytest.mark.parametrize("size", [0, 3, 12])
def test_a_broken_attribute_is_an_error_that_says_where(size: int) -> None:
    with pytest.raises(ValueError, match="at byte 8 says"):
        list(each_attribute(be32(1, 1) + struct.pack("=HH", size, 2)))
