"""The messages of etcd's v3 API that a storage needs, as bytes. Pure.

The numbers are those of etcd's ``rpc.proto`` and ``kv.proto``, which only ever grow. Requests are written, replies are
read into tuples; a field that nobody asks for is passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from fairway.apiserver.wire import as_bytes, as_number, fields_of, number, part

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"

_EQUAL, _MOD_REVISION = 0, 2
_DELETED = 1


class Row(NamedTuple):
    """One version of one key: who wrote it (``modified``), and who wrote the key's first (``created``)."""

    key: bytes
    value: bytes
    created: int
    modified: int


class RangeReply(NamedTuple):
    """``revision`` is etcd's newest, ``total`` how many rows there are without the limit."""

    revision: int
    rows: tuple[Row, ...]
    total: int


class TxnReply(NamedTuple):
    """``ranges`` are the rows of each range among the operations that were done, in their order."""

    revision: int
    succeeded: bool
    ranges: tuple[tuple[Row, ...], ...]


class Change(NamedTuple):
    """A key's new version; for a deleted one its ``row`` has no value, and was ``modified`` by the deletion."""

    row: Row
    deleted: bool
    previous: Row | None


class WatchReply(NamedTuple):
    """``compacted`` is the oldest revision to watch from, when the one asked for is older. More of the same revision
    follows in the next reply if it is a ``fragment``."""

    revision: int
    created: bool
    canceled: bool
    compacted: int
    reason: str
    fragment: bool
    changes: tuple[Change, ...]


def range_request(key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0) -> bytes:
    """The keys from ``key`` up to ``end``, or just ``key``; linearizable."""
    return part(1, key) + (part(2, end) if end else b"") + number(3, limit) + number(4, revision)


def get(key: bytes) -> bytes:
    """The operation that reads one key."""
    return part(1, range_request(key))


def put(key: bytes, value: bytes) -> bytes:
    """The operation that writes one key."""
    return part(2, part(1, key) + part(2, value))


def delete(key: bytes) -> bytes:
    """The operation that deletes one key."""
    return part(3, part(1, key))


def txn_request(expect: Iterable[tuple[bytes, int]], then: Iterable[bytes], otherwise: Iterable[bytes] = ()) -> bytes:
    """If every key is at the revision it is expected at (0: not there), do the first operations, else the others."""
    compares = (
        part(1, number(1, _EQUAL) + number(2, _MOD_REVISION) + part(3, key) + number(6, revision))
        for key, revision in expect
    )
    return b"".join((*compares, *(part(2, one) for one in then), *(part(3, one) for one in otherwise)))


def compact_request(revision: int) -> bytes:
    return number(1, revision)


def watch_request(key: bytes, end: bytes, *, start: int, previous: bool = False) -> bytes:
    """Every change from revision ``start`` on, in fragments where it is long, with news of progress now and then."""
    yes, fragment = 1, number(8, 1)
    options = number(3, start) + number(4, yes) + number(6, int(previous)) + fragment
    return part(1, part(1, key) + part(2, end) + options)


def range_reply(data: bytes) -> RangeReply:
    fields = _grouped(data)
    return RangeReply(_revision(fields), tuple(map(_row, fields[2])), _last(fields[4]))


def txn_reply(data: bytes) -> TxnReply:
    fields = _grouped(data)
    ranges: list[tuple[Row, ...]] = []
    for response in fields[3]:
        one = _grouped(as_bytes(response))
        ranges += (range_reply(as_bytes(found)).rows for found in one[1])
    return TxnReply(_revision(fields), bool(_last(fields[2])), tuple(ranges))


def watch_reply(data: bytes) -> WatchReply:
    fields = _grouped(data)
    return WatchReply(
        revision=_revision(fields),
        created=bool(_last(fields[3])),
        canceled=bool(_last(fields[4])),
        compacted=_last(fields[5]),
        reason=as_bytes(fields[6][-1]).decode("utf-8", "replace") if fields[6] else "",
        fragment=bool(_last(fields[7])),
        changes=tuple(map(_change, fields[11])),
    )


def _grouped(data: bytes) -> defaultdict[int, list[int | bytes]]:
    found: defaultdict[int, list[int | bytes]] = defaultdict(list)
    for field, value in fields_of(data):
        found[field].append(value)
    return found


def _last(values: list[int | bytes]) -> int:
    return as_number(values[-1]) if values else 0


def _revision(reply: defaultdict[int, list[int | bytes]]) -> int:
    """Every reply begins with a header, whose third field is the newest revision."""
    return _last(_grouped(as_bytes(reply[1][-1]))[3]) if reply[1] else 0


def _row(data: int | bytes) -> Row:
    key = value = b""
    created = modified = 0
    for field, content in fields_of(as_bytes(data)):
        if field == 1:
            key = as_bytes(content)
        elif field == 2:
            created = as_number(content)
        elif field == 3:
            modified = as_number(content)
        elif field == 5:
            value = as_bytes(content)
    return Row(key, value, created, modified)


def _change(data: int | bytes) -> Change:
    fields = dict(fields_of(as_bytes(data)))
    previous = fields.get(3)
    return Change(_row(fields.get(2, b"")), fields.get(1, 0) == _DELETED, None if previous is None else _row(previous))
