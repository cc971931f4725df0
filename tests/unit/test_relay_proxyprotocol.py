"""Unit tests of `fairway.relay.proxyprotocol`, against bytes written down from the protocol's text."""

from __future__ import annotations

import pytest

from fairway.relay.proxyprotocol import header


def test_version_1_is_a_line() -> None:
    assert header(1, ("192.0.2.10", 4711), ("10.96.0.1", 443)) == b"PROXY TCP4 192.0.2.10 10.96.0.1 4711 443\r\n"
    assert header(1, ("2001:db8::1", 1), ("fd00::2", 2)) == b"PROXY TCP6 2001:db8::1 fd00::2 1 2\r\n"


def test_version_2_is_binary() -> None:
    expected = "0d0a0d0a000d0a515549540a" + "21" + "11" + "000c" + "c000020a" + "0a600001" + "1267" + "01bb"
    assert header(2, ("192.0.2.10", 4711), ("10.96.0.1", 443)).hex() == expected
    six = header(2, ("2001:db8::1", 1), ("fd00::2", 2)).hex()
    assert six.startswith("0d0a0d0a000d0a515549540a" + "21" + "21" + "0024")
    assert len(six) == 2 * (16 + 36)


def test_there_is_no_version_3() -> None:
    with pytest.raises(ValueError, match="version 3"):
        header(3, ("192.0.2.10", 1), ("10.96.0.1", 2))
