"""Versions of keys in memory: the newest of each, and the changes that led there, back to some revision.

`Newest` is what every storage answers reads from. With the changes, `Versions` is all of `MemoryStorage`, and what
`EtcdStorage` keeps of etcd so that reads cost no way to it::

    oldest                                    newest
      │  event  event  event  event  event      │       newest[key] → Entry, keys in order
      └─ history ───────────────────────────────┘       an older state = today's, with changes taken back
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from fairway.apiserver.storage.contract import Entry, Event


class Newest:
    """The newest entry of each key, in the order of the keys."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._newest = {entry.key: entry for entry in entries}
        self._keys = sorted(self._newest)

    def __contains__(self, key: str) -> bool:
        return key in self._newest

    def get(self, key: str) -> Entry | None:
        return self._newest.get(key)

    def apply(self, event: Event) -> None:
        """A change has happened. A key that goes must be there."""
        if event.entry is None:
            del self._newest[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
            return
        if event.key not in self._newest:
            insort(self._keys, event.key)
        self._newest[event.key] = event.entry

    def now(self, prefix: str, after: str, limit: int = 0) -> tuple[tuple[Entry, ...], int]:
        """The entries under a prefix, behind the key ``after``, at most ``limit``; and how many more there are."""
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        end = max(start, bisect_left(self._keys, end_of(prefix)))
        last = min(end, start + limit) if limit else end
        return tuple(map(self._newest.__getitem__, self._keys[start:last])), end - last


class Versions(Newest):
    """Starts with ``entries``, the state of revision ``oldest``. Revisions may only grow."""

    def __init__(self, oldest: int, entries: Iterable[Entry] = ()) -> None:
        super().__init__(entries)
        self.oldest = oldest
        self._history: list[Event] = []

    @property
    def changes(self) -> int:
        """How many events are remembered."""
        return len(self._history)

    def put(self, key: str, value: bytes, revision: int) -> Event:
        return self._remember(put(key, value, revision, self._newest.get(key)))

    def delete(self, key: str, revision: int) -> Event:
        """The key must be there."""
        return self._remember(Event(key, revision, None, self._newest[key]))

    def _remember(self, event: Event) -> Event:
        self.apply(event)
        self._history.append(event)
        return event

    def then(self, prefix: str, after: str, revision: int, limit: int = 0) -> tuple[tuple[Entry, ...], int]:
        """As `now`, of a past revision, not before ``oldest``: today's entries, with the changes since taken back."""
        state: dict[str, Entry | None] = dict(self._newest)
        for event in reversed(self._history):
            if event.revision <= revision:
                break
            state[event.key] = event.previous
        items = ((key, entry) for key, entry in sorted(state.items()) if key.startswith(prefix) and key > after)
        found = tuple(entry for _, entry in items if entry)
        kept = found[:limit] if limit else found
        return kept, len(found) - len(kept)

    def since(self, prefix: str, revision: int) -> list[Event]:
        """The changes under a prefix after a revision, not before ``oldest``."""
        start = bisect_right(self._history, revision, key=_revision)
        return [event for event in self._history[start:] if event.key.startswith(prefix)]

    def forget(self, revision: int) -> None:
        """Let the history begin after this revision."""
        if revision > self.oldest:
            self.oldest = revision
            del self._history[: bisect_right(self._history, revision, key=_revision)]

    def forget_all_but(self, changes: int) -> None:
        """Let the history begin so late that about this many changes remain, whole revisions only."""
        if len(self._history) > changes:
            self.forget(self._history[-changes - 1].revision)


def put(key: str, value: bytes, revision: int, previous: Entry | None) -> Event:
    """A key gets a value at a revision; ``previous`` is what it has had."""
    entry = Entry(key, value, revision, previous.created if previous else revision)
    return Event(key, revision, entry, previous)


def _revision(event: Event) -> int:
    return event.revision


def end_of(prefix: str) -> str:
    """The first string behind every string that starts with ``prefix`` (which ends in ``/``)."""
    return prefix[:-1] + "0"
