"""Unit tests of `fairway.apiserver.storage.group`, through the storage that commits groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.apiserver.storage.contract import Conflict, StorageError, Transaction
from fairway.apiserver.storage.sqlite import SqliteStorage


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    found = SqliteStorage(tmp_path / "db")
    yield found
    found.close()


async def together(storage: SqliteStorage, *transactions: Transaction) -> list[int | BaseException]:
    """What each of them comes to, asked for in the same turn of the loop."""
    return await asyncio.gather(*(storage.transact(one) for one in transactions), return_exceptions=True)


async def test_each_has_its_own_revision_in_the_order_they_came(storage: SqliteStorage) -> None:
    before = storage.revision
    found = await together(storage, *(Transaction(puts={f"/{number}": b"x"}) for number in range(3)))
    assert found == [before + 1, before + 2, before + 3]
    assert [entry.revision for entry in (await storage.list("/")).entries] == found


async def test_one_is_judged_by_what_those_before_it_will_have_written(storage: SqliteStorage) -> None:
    first, second, third = await together(
        storage,
        Transaction(expect={"/a": 0}, puts={"/a": b"first"}),
        Transaction(expect={"/a": 0}, puts={"/a": b"second"}),
        Transaction(expect={"/a": storage.revision + 1}, deletes=frozenset(["/a"])),
    )
    assert isinstance(second, Conflict)
    assert second.entry is not None
    assert (second.entry.value, second.entry.revision) == (b"first", first)
    assert third == storage.revision
    assert await storage.get("/a") is None


async def test_what_changes_nothing_has_the_revision_before_it(storage: SqliteStorage) -> None:
    found = await together(
        storage, Transaction(puts={"/a": b"1"}), Transaction(deletes=frozenset(["/b"])), Transaction(puts={"/a": b"2"})
    )
    assert found == [storage.revision - 1, storage.revision - 1, storage.revision]


async def test_a_watch_is_told_of_each(storage: SqliteStorage) -> None:
    watch = await storage.watch("/", after=storage.revision)
    revisions = await together(storage, Transaction(puts={"/a": b"1"}), Transaction(puts={"/a": b"2"}))
    events = await watch.next()
    assert [event.revision for event in events] == revisions
    assert events[1].previous == events[0].entry


async def test_who_reads_what_is_about_to_change_waits_for_it(storage: SqliteStorage) -> None:
    writing = asyncio.ensure_future(storage.transact(Transaction(puts={"/a": b"new"})))
    other = asyncio.ensure_future(storage.get("/b"))
    entry = asyncio.ensure_future(storage.get("/a"))
    await asyncio.wait([writing, other, entry])
    found = entry.result()
    assert found is not None
    assert found.revision == writing.result()
    assert other.result() is None


async def test_a_commit_that_fails_fails_for_all_and_leaves_nothing(storage: SqliteStorage) -> None:
    revision = await storage.transact(Transaction(puts={"/kept": b"x"}))
    pages = storage._db.execute("PRAGMA page_count").fetchone()[0]
    storage._db.execute(f"PRAGMA max_page_count = {pages}")
    small, large, refused = await together(
        storage,
        Transaction(puts={"/small": b"x"}),
        Transaction(puts={"/large": b"v" * 1_000_000}),
        Transaction(expect={"/small": 0}, puts={"/small": b"y"}),
    )
    # The refusal would tell of a write that has not happened.
    assert all(isinstance(one, StorageError) for one in (small, large, refused))
    assert storage.revision == revision
    assert [entry.key for entry in (await storage.list("/")).entries] == ["/kept"]
    storage._db.execute("PRAGMA max_page_count = 1000000")
    assert await storage.transact(Transaction(expect={"/small": 0}, puts={"/small": b"z"})) == revision + 1


async def test_what_is_on_its_way_is_written_when_the_storage_closes(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "other")
    writing = asyncio.ensure_future(storage.transact(Transaction(puts={"/a": b"x"})))
    reading = asyncio.ensure_future(storage.get("/nothing"))
    await reading
    storage.close()
    revision = await writing
    with pytest.raises(StorageError, match="closed"):
        await storage.transact(Transaction(puts={"/b": b"x"}))
    again = SqliteStorage(tmp_path / "other")
    assert again.revision == revision
    assert await again.get("/a") is not None
    again.close()


async def test_a_writer_that_stops_waiting_does_no_harm(storage: SqliteStorage) -> None:
    gone = asyncio.ensure_future(storage.transact(Transaction(puts={"/a": b"x"})))
    stays = asyncio.ensure_future(storage.transact(Transaction(puts={"/b": b"x"})))
    # Both have been taken up, neither is committed.
    assert await storage.get("/c") is None
    gone.cancel()
    assert await stays == storage.revision
    assert gone.cancelled()
