"""Netlink messages as bytes: attributes, requests, replies, refusals."""

from __future__ import annotations

import errno
import struct

import pytest

from fairway.kernel.nfnetlink import (
    BODY,
    DONE,
    ERROR,
    HEADER,
    KernelRefused,
    Refusal,
    Request,
    attribute,
    attributes,
    be32,
    each_attribute,
    nested,
    number,
    split,
    string,
    text,
)


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


def test_a_request_has_both_headers() -> None:
    packed = Request(10, 9, b"BODY", "add set", flags=0x400, family=2).pack(5, extra_flags=4)
    assert HEADER.unpack_from(packed) == (24, 10 << 8 | 9, 0x1 | 0x400 | 4, 5, 0)
    assert packed[HEADER.size :] == b"\2\0\0\0BODY"


def test_replies_are_split_and_netlinks_own_kinds_are_not_taken_for_a_subsystems() -> None:
    chain = Request(10, 3, b"", "").pack(1)
    done = HEADER.pack(20, 3, 0, 1, 0) + bytes(4)
    error = HEADER.pack(20, 2, 0, 1, 0) + struct.pack("=i", -errno.ENOENT)
    assert [reply.kind for reply in split(chain + done + error)] == [3, DONE, ERROR]
    assert split(chain)[0].body == b""
    assert len(chain) == BODY


def test_a_refusal_reads_as_question_and_answer() -> None:
    refusal = Refusal("add chain ip fairway x", errno.EEXIST, "exists already")
    assert str(refusal) == "add chain ip fairway x: the kernel answered EEXIST: File exists (exists already)"
    both = KernelRefused([refusal, Refusal("add table ip y", errno.EPERM)])
    assert str(both).endswith("(and 1 more)")
    assert both.code == errno.EEXIST
