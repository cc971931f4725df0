"""Transactions that are committed together: each is judged as if those before it had been written, all appear at once.

::

    transact ─▶ judge ─▶ wait ┐                     ┌─▶ revision 8
    transact ─▶ judge ─▶ wait ┼─▶ one commit ───────┼─▶ revision 9
    transact ─▶ refused       ┘   (the storage's)   └─▶ Conflict, once what it conflicts with is there

A refusal waits as well: it tells of a write that nobody could read yet, and that may still fail.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from fairway.apiserver.storage.contract import Conflict, Entry, Event, Transaction
from fairway.apiserver.storage.versions import Newest, put


class Write(NamedTuple):
    """What one transaction changes."""

    revision: int
    events: list[Event]


class Group:
    """The transactions of one commit, upon the ``newest`` entries as of ``revision``."""

    def __init__(self, newest: Newest, revision: int) -> None:
        self.writes: list[Write] = []
        self._newest = newest
        self._revision = revision
        # What the keys will be; None for one that is deleted.
        self._changed: dict[str, Entry | None] = {}
        self._answers: list[tuple[asyncio.Future[int], int | Conflict]] = []
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __contains__(self, key: str) -> bool:
        """Whether a key is about to change."""
        return key in self._changed

    async def add(self, transaction: Transaction) -> int:
        """The revision, once the commit is done; raises `Conflict`, and what the commit has raised."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            verdict: int | Conflict = self._judge(transaction)
        except Conflict as conflict:
            verdict = conflict
        self._answers.append((answer, verdict))
        return await answer

    async def settled(self) -> None:
        """Wait until the commit is done, however it ended."""
        await asyncio.shield(self._settled)

    def _entry(self, key: str) -> Entry | None:
        return self._changed[key] if key in self._changed else self._newest.get(key)

    def _judge(self, transaction: Transaction) -> int:
        """The revision that a transaction gets; raises `Conflict`."""
        for key, expected in transaction.expect.items():
            entry = self._entry(key)
            if (entry.revision if entry else 0) != expected:
                raise Conflict(key, entry)
        revision = self._revision + 1
        events = [put(key, value, revision, self._entry(key)) for key, value in transaction.puts.items()]
        gone = ((key, self._entry(key)) for key in sorted(transaction.deletes))
        events += [Event(key, revision, None, entry) for key, entry in gone if entry]
        if events:
            self._revision = revision
            self._changed.update((event.key, event.entry) for event in events)
            self.writes.append(Write(revision, events))
        return self._revision

    def succeed(self) -> None:
        """Everything is written, and can be read."""
        for answer, verdict in self._answers:
            if answer.done():
                continue
            if isinstance(verdict, Conflict):
                answer.set_exception(verdict)
            else:
                answer.set_result(verdict)
        self._settled.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing is written."""
        for answer, _ in self._answers:
            if not answer.done():
                answer.set_exception(error)
        self._settled.set_result(None)
