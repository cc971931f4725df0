"""Rules in nft's words: what the C library prints is printed like that."""

from __future__ import annotations

import socket

from hypothesis import example, given
from hypothesis import strategies as st

from fairway.modes.nftables.expressions import NETWORK, Bitwise, Lookup, Payload, listing

SOURCE_ADDRESS = Payload(NETWORK, 8, 16, 0)
SIXTEEN_BYTES = st.integers(1, 16).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(SIXTEEN_BYTES.map(lambda last: last.rjust(16, b"\0")).filter(any))
@example(bytes(8) + b"\xff" * 8)
@example(bytes(10) + b"\xff" * 6)
@example(bytes(12) + b"\xff" * 4)
@example(bytes(14) + b"\xff" * 2)
def test_the_end_of_a_range_is_printed_as_the_c_library_does(end: bytes) -> None:
    rule = (SOURCE_ADDRESS, Bitwise(0, 0, b"\xff" * 16, end), Lookup("ranges", 0))
    assert listing(rule, {"ranges": 4}) == f"ip6 saddr | {socket.inet_ntop(socket.AF_INET6, end)} @ranges"
