"""Unit tests of `fairway.apiserver.storage.sqlite`: what only a file can do, and what can happen to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fairway.apiserver.storage.contract import Compacted, StorageError, Transaction
from fairway.apiserver.storage.sqlite import SqliteStorage


async def put(storage: SqliteStorage, key: str, value: bytes = b"x") -> int:
    return await storage.transact(Transaction(puts={key: value}))


def crash(storage: SqliteStorage) -> None:
    """End as a killed process does: without a word."""
    storage._db.close()


async def test_a_restart_continues_where_it_was(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db")
    first = await put(storage, "/a", b"1")
    last = await put(storage, "/a", b"2")
    storage.close()
    again = SqliteStorage(tmp_path / "db")
    assert again.revision == last
    [event] = await (await again.watch("/", after=first)).next()
    assert event.entry is not None
    assert event.entry.value == b"2"
    again.close()


async def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db", boot_id="one")
    revision = await put(storage, "/a")
    crash(storage)
    again = SqliteStorage(tmp_path / "db", boot_id="one")
    assert again.revision == revision
    assert await again.get("/a") is not None
    again.close()


async def test_after_a_crash_of_the_machine_every_client_lists_again(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db", boot_id="one")
    revision = await put(storage, "/a")
    crash(storage)
    again = SqliteStorage(tmp_path / "db", boot_id="two")
    assert again.revision > revision + 1000
    assert await again.get("/a") is not None
    with pytest.raises(Compacted):
        await again.watch("/", after=revision)
    assert await put(again, "/b") == again.revision
    again.close()


async def test_after_a_clean_end_a_new_boot_changes_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db", boot_id="one")
    revision = await put(storage, "/a")
    storage.close()
    again = SqliteStorage(tmp_path / "db", boot_id="two")
    assert again.revision == revision
    again.close()


async def test_the_revision_survives_the_compaction_of_everything(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db")
    await put(storage, "/a")
    revision = await storage.transact(Transaction(deletes=frozenset(["/a"])))
    await storage.compact(revision)
    storage.close()
    again = SqliteStorage(tmp_path / "db")
    assert (again.revision, again.compacted) == (revision, revision)
    again.close()


def test_a_second_process_is_told(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db")
    with pytest.raises(StorageError, match="in use by another process"):
        SqliteStorage(tmp_path / "db")
    storage.close()


@pytest.mark.parametrize("content", [b"this is a text, not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(StorageError, match="move it away"):
        SqliteStorage(tmp_path / "db")


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db")
    for number in range(500):
        await put(storage, f"/{number}", b"v" * 500)
    storage.close()
    data = bytearray((tmp_path / "db").read_bytes())
    data[20_000:120_000] = b"\xa5" * 100_000
    (tmp_path / "db").write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        SqliteStorage(tmp_path / "db")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteStorage(tmp_path / "nowhere" / "db")


def test_a_database_of_another_format_is_refused(tmp_path: Path) -> None:
    SqliteStorage(tmp_path / "db").close()
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("UPDATE facts SET value = '99' WHERE name = 'format'")
    db.close()
    with pytest.raises(StorageError, match="format 99"):
        SqliteStorage(tmp_path / "db")


def test_a_database_of_the_first_format_is_taken_over(tmp_path: Path) -> None:
    SqliteStorage(tmp_path / "db").close()
    for before, after in (("1", "2"), ("2", "2")):
        with sqlite3.connect(tmp_path / "db") as db:
            db.execute("UPDATE facts SET value = ? WHERE name = 'format'", (before,))
        db.close()
        SqliteStorage(tmp_path / "db").close()
        with sqlite3.connect(tmp_path / "db") as db:
            assert db.execute("SELECT value FROM facts WHERE name = 'format'").fetchone() == (after,)
        db.close()


async def test_a_full_disk_refuses_the_write_and_keeps_the_rest(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "db")
    revision = await put(storage, "/a")
    pages = storage._db.execute("PRAGMA page_count").fetchone()[0]
    storage._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="is full"):
        await put(storage, "/b", b"v" * 1_000_000)
    assert storage.revision == revision
    assert await storage.get("/b") is None
    storage._db.execute("PRAGMA max_page_count = 1000000")
    assert await put(storage, "/b") == revision + 1
    storage.close()
