"""The audit log: one line of JSON for each write, with who, what, and the addresses and ports it changed.

::

    request ends ─▶ a list in memory ─▶ one task, which writes in a thread ─▶ audit.log ─▶ audit.log.1 ─▶ audit.log.2 …

Nothing is dropped: when the disk is slower than the clients, they wait. Bodies are never in it, so no Secret and no
token is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fairway.apiserver.access.rules import Attributes
from fairway.apiserver.access.users import User
from fairway.apiserver.changes import Change

STANDARD_OUTPUT = "-"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
# Older files that are kept, and lines that may wait for the disk.
_KEPT = 10
_WAITING = 10_000
_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)


class AuditLogError(Exception):
    """The audit log cannot be written; the message names the file."""


class AuditFile:
    """A file that moves out of the way when it is full: ``audit.log`` becomes ``audit.log.1``, that one ``.2``."""

    def __init__(self, path: str, most_bytes: int) -> None:
        """``most_bytes`` 0: it never moves. Raises `AuditLogError`."""
        self._path = None if path == STANDARD_OUTPUT else Path(path)
        self._most = most_bytes
        self._file = self._open()

    def _open(self) -> BinaryIO:
        if self._path is None:
            return sys.stdout.buffer
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditLogError(f"cannot write the audit log {self._path}: {error.strerror}") from None
        return os.fdopen(descriptor, "ab", buffering=0)

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines, each of which stays whole in one file; raises `AuditLogError`."""
        try:
            batch: list[bytes] = []
            size = self._size()
            for line in lines:
                if self._most and size and size + len(line) > self._most:
                    self._flush(batch)
                    self._move()
                    batch, size = [], 0
                batch.append(line)
                size += len(line)
            self._flush(batch)
        except OSError as error:
            raise AuditLogError(f"cannot write the audit log {self._path or 'to standard output'}: {error}") from None

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size if self._path and self._most else 0

    def _flush(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[self._file.write(data) :]
        self._file.flush()

    def _move(self) -> None:
        if self._path is None:
            return
        self._file.close()
        for number in range(_KEPT - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file = self._open()

    def _numbered(self, number: int) -> Path:
        assert self._path
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        if self._path is not None:
            self._file.close()


class AuditLog:
    """Takes records from requests; `run` writes them until it is cancelled, and what is left at its end."""

    def __init__(self, file: AuditFile) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def add(self, record: dict[str, Any]) -> None:
        """Take over a record; waits only while too many others wait for the disk."""
        await self._room.wait()
        self._lines.append(msgspec.json.encode(record) + b"\n")
        self._some.set()
        if len(self._lines) >= _WAITING:
            self._room.clear()

    async def run(self) -> None:
        """Write until cancelled; a file that cannot be written is tried again, and what has to wait waits."""
        try:
            while True:
                await self._some.wait()
                try:
                    await self._write()
                except AuditLogError as error:
                    log.error("%s; trying again", error)
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            self._finish()

    async def _write(self) -> None:
        """Write what there is, to its end even when cancelled."""
        count = len(self._lines)
        writing = asyncio.ensure_future(asyncio.to_thread(self._file.write, self._lines[:count]))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            self._written(count)
            raise
        self._written(count)

    def _written(self, count: int) -> None:
        del self._lines[:count]
        if not self._lines:
            self._some.clear()
        self._room.set()

    def _finish(self) -> None:
        try:
            self._file.write(self._lines)
        except AuditLogError as error:
            log.error("%s; %d lines are lost", error, len(self._lines))
        self._lines = []
        self._file.close()


def record(
    user: User, address: str, asked: Attributes, changes: list[Change], *, code: int, began: float, seconds: float
) -> dict[str, Any]:
    """One write as the log has it. ``began`` is in seconds since 1970, ``changes`` what it did to which objects."""
    found: dict[str, Any] = {
        "time": datetime.fromtimestamp(began, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "user": user.name,
        "groups": list(user.groups),
        "source": address,
        "verb": asked.verb,
        "group": asked.group,
        "resource": asked.full_resource,
        "namespace": asked.namespace,
        "name": asked.name,
        "dryRun": any(change.dry_run for change in changes),
        "code": code,
        "latencyMilliseconds": round(seconds * 1000, 3),
    }
    if len(changes) == 1:
        (change,) = changes
        found |= {"namespace": change.namespace, "name": change.name}
        found |= _values(change)
    elif changes:
        found["objects"] = [{"namespace": one.namespace, "name": one.name, **_values(one)} for one in changes]
    return found


def _values(change: Change) -> dict[str, Any]:
    """The allocated values on both sides, where there are any."""
    return {name: values for name, values in (("before", change.before), ("after", change.after)) if values}
