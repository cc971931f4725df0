"""Netlink messages as bytes: requests, replies, refusals."""

from __future__ import annotations

import errno
import struct

from fairway.kernel.nfnetlink import BODY, DONE, ERROR, HEADER, KernelRefused, Refusal, Request, split


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
