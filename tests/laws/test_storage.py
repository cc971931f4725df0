"""Laws of every storage: it agrees with a model of itself, and a watch from any revision equals the replay."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairway.apiserver.storage.contract import Compacted, Conflict, Storage, Transaction, Watch
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage

KEYS = ("/a/1", "/a/2", "/b/1", "/b/1/x", "/c")
PREFIXES = ("/", "/a/", "/b/", "/b/1/", "/nothing/")
T = TypeVar("T")
State = dict[str, bytes]


class StorageLaws(RuleBasedStateMachine):
    """Random transactions, compactions and watches; ``states`` is the truth: the state after every revision."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.storage = self.make()
        self.states: dict[int, State] = {self.storage.revision: {}}
        self.watches: list[tuple[Watch, str, State]] = []

    def make(self) -> Storage:
        return MemoryStorage()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @property
    def now(self) -> State:
        return self.states[max(self.states)]

    @initialize()
    def begin(self) -> None:
        assert self.wait(self.storage.list("/")).entries == ()

    @rule(
        puts=st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=3), max_size=3),
        deletes=st.frozensets(st.sampled_from(KEYS), max_size=2),
    )
    def write(self, puts: State, deletes: frozenset[str]) -> None:
        deletes -= puts.keys()
        before = self.storage.revision
        revision = self.wait(self.storage.transact(Transaction(puts=puts, deletes=deletes)))
        if not puts and not deletes & self.now.keys():
            assert revision == before
            return
        assert revision == before + 1
        state = {key: value for key, value in self.now.items() if key not in deletes}
        self.states[revision] = state | puts

    @rule(key=st.sampled_from(KEYS), expected=st.integers(0, 30), value=st.binary(max_size=3))
    def write_if(self, key: str, expected: int, value: bytes) -> None:
        entry = self.wait(self.storage.get(key))
        actual = entry.revision if entry else 0
        transaction = Transaction(expect={key: expected}, puts={key: value})
        try:
            revision = self.wait(self.storage.transact(transaction))
        except Conflict:
            assert actual != expected
        else:
            assert actual == expected
            self.states[revision] = self.now | {key: value}

    @rule(back=st.integers(0, 5))
    def compact(self, back: int) -> None:
        self.wait(self.storage.compact(self.storage.revision - back))

    @rule(back=st.integers(0, 8), prefix=st.sampled_from(PREFIXES))
    def read_the_past(self, back: int, prefix: str) -> None:
        revision = max(1, self.storage.revision - back)
        try:
            listing = self.wait(self.storage.list(prefix, revision=revision))
        except Compacted:
            assert revision < self.storage.compacted
            return
        assert {entry.key: entry.value for entry in listing.entries} == _under(self.states[revision], prefix)

    @rule(back=st.integers(0, 8), prefix=st.sampled_from(PREFIXES))
    def watch(self, back: int, prefix: str) -> None:
        revision = max(1, self.storage.revision - back)
        try:
            watch = self.wait(self.storage.watch(prefix, after=revision))
        except Compacted:
            assert revision < self.storage.compacted
            return
        self.watches.append((watch, prefix, dict(_under(self.states[revision], prefix))))

    @invariant()
    def every_watch_replays_to_the_present(self) -> None:
        for watch, prefix, state in self.watches:
            watch.poke()
            if watch.progress < self.storage.revision:
                for event in self.wait(watch.next()):
                    assert (event.previous.value if event.previous else None) == state.get(event.key)
                    if event.entry is None:
                        del state[event.key]
                    else:
                        state[event.key] = event.entry.value
            assert state == _under(self.now, prefix)

    @invariant()
    def the_present_is_read_back(self) -> None:
        listing = self.wait(self.storage.list("/"))
        assert [entry.key for entry in listing.entries] == sorted(self.now)
        assert {entry.key: entry.value for entry in listing.entries} == self.now

    def teardown(self) -> None:
        self.storage.close()
        self.loop.close()


class SqliteLaws(StorageLaws):
    """The same, with restarts in between."""

    def make(self) -> Storage:
        self.directory = tempfile.TemporaryDirectory()
        return SqliteStorage(Path(self.directory.name) / "db")

    @rule()
    def restart(self) -> None:
        revision = self.storage.revision
        self.storage.close()
        self.watches.clear()
        self.storage = SqliteStorage(Path(self.directory.name) / "db")
        assert self.storage.revision == revision

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


def _under(state: State, prefix: str) -> State:
    return {key: value for key, value in state.items() if key.startswith(prefix)}


TestMemory = StorageLaws.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=30)
TestSqlite = SqliteLaws.TestCase
TestSqlite.settings = settings(max_examples=20, stateful_step_count=30)
