"""How a storage's keys lie in etcd."""

from __future__ import annotations

import pytest

from fairway.apiserver.storage.contract import Entry
from fairway.apiserver.storage.etcd_keys import Keys, Tick
from fairway.apiserver.storage.etcd_messages import Row

KEYS = Keys("/fairway")


def test_every_key_lies_in_one_range() -> None:
    first, end = KEYS.all
    for key in (KEYS.clock, KEYS.fence("me"), KEYS.data("/objects/services/shop/cart")):
        assert first <= key < end
    assert not first <= Keys("/fairway2").clock < end


def test_a_key_comes_back_as_it_was() -> None:
    row = Row(KEYS.data("/a/ü"), b"v", 2, 5)
    assert KEYS.is_data(row.key)
    assert KEYS.entry(row) == Entry("/a/ü", b"v", revision=5, created=2)


def test_what_is_not_data_is_told_apart() -> None:
    assert not any(KEYS.is_data(key) for key in (KEYS.clock, KEYS.fence("data")))


def test_a_range_begins_behind_a_key() -> None:
    assert KEYS.below("/a/") == (b"/fairway/data/a/", b"/fairway/data/a0")
    assert KEYS.below("/a/", "/a/1") == (b"/fairway/data/a/1\0", b"/fairway/data/a0")
    assert KEYS.below("/b/", "/a/1")[0] == b"/fairway/data/b/"


def test_a_tick_comes_back_as_it_was() -> None:
    assert Tick.decode(Tick("me", 17).encode()) == Tick("me", 17)


@pytest.mark.parametrize("value", [b"", b"2 me 17", b"1 me", b"1 me x", b"1 a b 3", b"\xff\xfe"])
def test_a_tick_of_another_format_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="its clock says"):
        Tick.decode(value)
