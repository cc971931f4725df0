"""etcd's messages, byte by byte as its own clients write them, and replies as it sends them."""

from __future__ import annotations

from fairway.apiserver.storage import etcd_messages as messages
from fairway.apiserver.storage.etcd_messages import Change, Row
from fairway.apiserver.wire import number, part

HEADER = part(1, number(1, 2**63 + 5) + number(2, 7) + number(3, 42) + number(4, 2))


def row(key: bytes, value: bytes, created: int, modified: int) -> bytes:
    return part(1, key) + number(2, created) + number(3, modified) + number(4, 1) + part(5, value)


def test_a_range_asks_for_keys_with_limit_and_revision() -> None:
    assert messages.range_request(b"a") == b"\x0a\x01a"
    assert messages.range_request(b"a", b"b", limit=3, revision=300) == b"\x0a\x01a\x12\x01b\x18\x03\x20\xac\x02"


def test_a_transaction_compares_revisions() -> None:
    compare = number(2, 2) + part(3, b"k") + number(6, 9)
    expected = part(1, compare) + part(2, messages.put(b"k", b"v")) + part(3, messages.get(b"k"))
    assert messages.txn_request([(b"k", 9)], [messages.put(b"k", b"v")], [messages.get(b"k")]) == expected


def test_a_watch_asks_for_fragments_and_progress() -> None:
    create = part(1, b"a") + part(2, b"b") + number(3, 5) + number(4, 1) + number(6, 1) + number(8, 1)
    assert messages.watch_request(b"a", b"b", start=5, previous=True) == part(1, create)


def test_a_range_reply_has_rows_in_order() -> None:
    data = HEADER + part(2, row(b"a", b"1", 3, 5)) + part(2, row(b"b", b"", 4, 4)) + number(3, 1) + number(4, 9)
    assert messages.range_reply(data) == (42, (Row(b"a", b"1", 3, 5), Row(b"b", b"", 4, 4)), 9)


def test_an_empty_range_reply_has_none() -> None:
    assert messages.range_reply(HEADER) == (42, (), 0)


def test_a_refused_transaction_tells_what_is_there() -> None:
    found = part(3, part(1, part(2, row(b"a", b"1", 3, 5))))
    nothing = part(3, part(1, HEADER))
    assert messages.txn_reply(HEADER + found + nothing) == (42, False, ((Row(b"a", b"1", 3, 5),), ()))


def test_a_transaction_that_was_done_says_so() -> None:
    done = HEADER + number(2, 1) + part(3, part(2, HEADER)) + part(3, part(3, b""))
    assert messages.txn_reply(done) == (42, True, ())


def test_a_watch_reply_tells_puts_and_deletions() -> None:
    put = part(11, part(2, row(b"a", b"2", 3, 6)) + part(3, row(b"a", b"1", 3, 5)))
    gone = part(11, number(1, 1) + part(2, part(1, b"a") + number(3, 7)))
    reply = messages.watch_reply(HEADER + number(7, 1) + put + gone)
    assert reply.fragment
    assert reply.changes == (
        Change(Row(b"a", b"2", 3, 6), False, Row(b"a", b"1", 3, 5)),
        Change(Row(b"a", b"", 0, 7), True, None),
    )


def test_a_watch_that_cannot_begin_tells_where_it_can() -> None:
    reply = messages.watch_reply(HEADER + number(4, 1) + number(5, 30) + part(6, b"compacted"))
    assert (reply.canceled, reply.compacted, reply.reason, reply.created) == (True, 30, "compacted", False)
