"""A storage in one SQLite file, for one machine.

Every version of a key is a row; the newest has no ``superseded``, a deletion is a row without a value::

    key  revision  created  superseded  value
    /a   2         2        3           {...}     what /a was until revision 3
    /a   3         2        NULL        {...}     what it is
    /b   4         3        4           NULL      /b was deleted

What there is now is kept in memory too, so that reading it costs the database nothing, and a write one statement for
each key. Writes that come in the same turn of the event loop are committed together (`group`). A list of the past and a
watch from the past are queries over the rows, and compaction deletes those whose ``superseded`` is old enough.

The file belongs to one process: it is locked exclusively, so that a second server says so instead of diverging.
Durability (docs/adr/0004): a commit is handed to the operating system before it is acknowledged, so it survives the
end of this process in any way, but not every commit waits for the disk. After a crash of the whole machine the last
commits may be missing; then the revision jumps ahead and older ones count as compacted, so that every client lists
again instead of believing in changes that are gone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairway.apiserver.storage.contract import (
    Compacted,
    Entry,
    Event,
    FutureRevision,
    Listing,
    StorageError,
    Transaction,
    Watch,
)
from fairway.apiserver.storage.feed import Feed
from fairway.apiserver.storage.group import Group
from fairway.apiserver.storage.versions import Newest, end_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    superseded INTEGER,
    value BLOB
);
CREATE UNIQUE INDEX IF NOT EXISTS newest ON versions (key) WHERE superseded IS NULL;
CREATE INDEX IF NOT EXISTS replaced ON versions (superseded, key) WHERE superseded IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_revision ON versions (revision);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# Format 2: cluster IPs are claimed by IPAddress objects. What reads only format 1 would give them away again.
_FORMAT = "2"
_UPGRADABLE = ("1", _FORMAT)
# More than can be lost: SQLite syncs its log to the disk every 1000 pages, and a transaction writes at least one.
_JUMP = 1_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_NEWEST = "SELECT key, value, revision, created FROM versions WHERE superseded IS NULL ORDER BY key"
_SUPERSEDE = "UPDATE versions SET superseded = ? WHERE key = ? AND superseded IS NULL"
_INSERT = "INSERT INTO versions (key, revision, created, superseded, value) VALUES (?, ?, ?, ?, ?)"
_LIST_THEN = """FROM versions WHERE key >= ? AND key < ? AND key > ?
    AND revision <= ? AND (superseded IS NULL OR superseded > ?) AND value IS NOT NULL"""
_HISTORY = """SELECT new.key, new.revision, new.created, new.value, old.revision, old.created, old.value
    FROM versions AS new LEFT JOIN versions AS old
    ON old.superseded = new.revision AND old.key = new.key AND old.value IS NOT NULL
    WHERE new.revision > ? AND new.key >= ? AND new.key < ? ORDER BY new.revision, new.id"""


class SqliteStorage:
    """Opens or creates the file at ``path``; raises `StorageError` when it cannot be used.

    ``boot_id`` tells one run of the machine from the next; by default the kernel's.
    """

    def __init__(self, path: Path, *, boot_id: str | None = None) -> None:
        self._path = path
        self._closed = False
        self._group: Group | None = None
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            with self._explained():
                self._feed = Feed(self._open(_current_boot() if boot_id is None else boot_id))
                self._compacted = self._number("compacted", 1)
                self._newest = Newest(Entry(*row) for row in self._db.execute(_NEWEST))
        except BaseException:
            self._db.close()
            raise

    def _open(self, boot_id: str) -> int:
        """Lock, check and prepare the file; gives the newest revision."""
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StorageError(f"the database {self._path} is damaged ({verdict}); {_RESTORE}")
        self._db.executescript(_SCHEMA)
        format_ = self._fact("format", _FORMAT)
        if format_ not in _UPGRADABLE:
            raise StorageError(
                f"the database {self._path} has format {format_}, this version of Fairway reads format {_FORMAT}"
            )
        newest = self._db.execute("SELECT max(revision) FROM versions").fetchone()[0] or 1
        revision = max(newest, self._number("revision", 1))
        with self._transaction():
            if self._fact("clean", "yes") == "no" and boot_id != self._fact("boot", boot_id):
                revision += _JUMP
                self._remember(compacted=str(revision), revision=str(revision))
            self._remember(format=_FORMAT, clean="no", boot=boot_id)
        self._db.execute("PRAGMA synchronous = NORMAL")
        return revision

    @property
    def revision(self) -> int:
        return self._feed.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def get(self, key: str) -> Entry | None:
        while (group := self._group) is not None and key in group:
            # What is about to be written is what the reader will have to go by.
            await group.settled()
        return self._newest.get(key)

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        self._check(revision or self.revision)
        if revision in (0, self.revision):
            entries, remaining = self._newest.now(prefix, after, limit)
            return Listing(entries, self.revision, remaining)
        bounds = (prefix, end_of(prefix), after, revision, revision)
        with self._explained():
            query = f"SELECT key, value, revision, created {_LIST_THEN} ORDER BY key LIMIT ?"
            entries = tuple(Entry(*row) for row in self._db.execute(query, (*bounds, limit or -1)))
            remaining = 0
            if limit and len(entries) == limit:
                remaining = self._db.execute(f"SELECT count(*) {_LIST_THEN}", bounds).fetchone()[0] - limit
        return Listing(entries, revision, remaining)

    async def transact(self, transaction: Transaction) -> int:
        if self._closed:
            raise StorageError(f"the database {self._path} is closed")
        if self._group is None:
            self._group = Group(self._newest, self.revision)
            asyncio.get_running_loop().call_soon(self._commit)
        return await self._group.add(transaction)

    def _commit(self) -> None:
        """Write what has come together, in one transaction of the database."""
        group, self._group = self._group, None
        if group is None:
            return
        try:
            if group.writes:
                with self._explained(), self._transaction():
                    for write in group.writes:
                        for event in write.events:
                            self._write(event)
        except Exception as error:
            group.fail(error)
            return
        for write in group.writes:
            for event in write.events:
                self._newest.apply(event)
            self._feed.publish(write.revision, write.events)
        group.succeed()

    def _write(self, event: Event) -> None:
        key, revision, entry, previous = event.key, event.revision, event.entry, event.previous
        if previous is not None:
            self._db.execute(_SUPERSEDE, (revision, key))
        if entry is not None:
            self._db.execute(_INSERT, (key, revision, entry.created, None, entry.value))
        elif previous is not None:
            self._db.execute(_INSERT, (key, revision, previous.created, revision, None))

    async def watch(self, prefix: str, *, after: int) -> Watch:
        self._check(after)
        history: list[Event] = []
        if after < self.revision:
            with self._explained():
                rows = self._db.execute(_HISTORY, (after, prefix, end_of(prefix))).fetchall()
            history = [_event(*row) for row in rows]
        return self._feed.open(prefix, history)

    async def compact(self, revision: int) -> None:
        revision = min(revision, self.revision)
        if revision <= self._compacted:
            return
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM versions WHERE superseded <= ?", (revision,))
            self._remember(compacted=str(revision), revision=str(self.revision))
        self._compacted = revision

    def close(self) -> None:
        if self._closed:
            return
        self._commit()
        self._closed = True
        self._feed.close()
        try:
            with self._explained():
                self._remember(clean="yes")
        finally:
            self._db.close()

    def _check(self, revision: int) -> None:
        if revision < self._compacted:
            raise Compacted(self._compacted)
        if revision > self.revision:
            raise FutureRevision(self.revision)

    def _fact(self, name: str, default: str) -> str:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else default

    def _number(self, name: str, default: int) -> int:
        text = self._fact(name, str(default))
        if not text.isdecimal():
            raise StorageError(f"the database {self._path} is damaged ({name} is {text!r}); {_RESTORE}")
        return int(text)

    def _remember(self, **facts: str) -> None:
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite ends a transaction by itself when the disk is full
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as `StorageError`, with the file and what helps."""
        try:
            yield
        except sqlite3.Error as error:
            primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
            template = _ADVICE.get(primary, "the database {path} cannot be used: {error}")
            raise StorageError(template.format(path=self._path, error=error)) from error


_RESTORE = "move it away to start empty, or put a copy of it back"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "the database {path} is in use by another process; only one API server can use it",
    sqlite3.SQLITE_CANTOPEN: "the database {path} cannot be opened: {error}; does its directory exist?",
    sqlite3.SQLITE_CORRUPT: "the database {path} is damaged ({error}); " + _RESTORE,
    sqlite3.SQLITE_FULL: "the disk of the database {path} is full; nothing can be written until there is room",
    sqlite3.SQLITE_IOERR: "reading or writing the database {path} failed: {error}; check the disk",
    sqlite3.SQLITE_NOTADB: "{path} is not a SQLite database; " + _RESTORE,
    sqlite3.SQLITE_PERM: "no permission for the database {path}",
    sqlite3.SQLITE_READONLY: "the database {path} is read-only; the API server must be able to write it",
}


def _event(
    key: str,
    revision: int,
    created: int,
    value: bytes | None,
    old_revision: int | None,
    old_created: int | None,
    old_value: bytes | None,
) -> Event:
    entry = None if value is None else Entry(key, value, revision, created)
    previous = None
    if old_value is not None and old_revision is not None and old_created is not None:
        previous = Entry(key, old_value, old_revision, old_created)
    return Event(key, revision, entry, previous)


def _current_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
