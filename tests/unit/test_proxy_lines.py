"""Unit tests of `fairway.proxy.lines`: a reader hears of every round, and one that does not read holds nobody up."""

from __future__ import annotations

import json
import os

import pytest

from fairway.objects.meta import Key
from fairway.proxy.cache import Batch
from fairway.proxy.lines import RoundLines
from fairway.proxy.receipts import Receipt, Round, RoundKind

ROUND = Round(kind=RoundKind.CHANGE, at=0.0, seconds=0.25, commands=7, frontends=2)


def receipt(kind: str, version: str) -> Receipt:
    return Receipt(kind, Key("shop", "cart"), version, 0.0, 0.3, 7)


def test_each_round_is_a_line_with_the_newest_object_of_each_kind() -> None:
    read, write = os.pipe()
    lines = RoundLines(write)
    lines.finished(
        ROUND, [receipt("Service", "7"), receipt("EndpointSlice", "8"), receipt("EndpointSlice", "9")], Batch()
    )
    lines.finished(ROUND, [], Batch())
    first, second = map(json.loads, os.read(read, 9999).splitlines())
    assert (first["kind"], first["commands"], first["seconds"]) == ("change", 7, 0.25)
    assert first["acknowledged"] == {"Service": "7", "EndpointSlice": "9"}
    assert second["acknowledged"] == {}
    os.close(read)
    os.close(write)


def test_a_reader_that_does_not_read_gets_no_more(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    lines = RoundLines(write)
    while not caplog.messages:
        lines.finished(ROUND, [], Batch())
    lines.finished(ROUND, [], Batch())
    assert [one.partition(":")[0] for one in caplog.messages] == [f"--receipts-fd {write}"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)
    os.close(read)


def test_a_descriptor_that_is_none_is_told(caplog: pytest.LogCaptureFixture) -> None:
    RoundLines(10**9).finished(ROUND, [], Batch())
    assert caplog.messages == ["--receipts-fd 1000000000: Bad file descriptor"]
