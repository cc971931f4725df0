"""Versions of keys in memory: the newest of each, and the changes that led there, back to some revision.

It is all of `MemoryStorage`, and what `EtcdStorage` keeps of etcd so that reads cost no way to it::

    oldest                                    newest
      │  event  event  event  event  event      │       newest[key] → Entry, keys in order
      └─ history ───────────────────────────────┘       an older state = today's, with changes taken back
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from fairway.apiserver.storage.contract import Entry, Event


class Versions:
    """Starts with ``entries``, the state of revision ``oldest``. Revisions may only grow."""

    def __init__(self, oldest: int, entries: Iterable[Entry] = ()) -> None:
        self.oldest = oldest
        self._newest = {entry.key: entry for entry in entries}
        self._keys = sorted(self._newest)
        self._history: list[Event] = []

    def __contains__(self, key: str) -> bool:
        return key in self._newest

    @property
    def changes(self) -> int:
        """How many events are remembered."""
        return len(self._history)

    def get(self, key: str) -> Entry | None:
        return self._newest.get(key)

    def put(self, key: str, value: bytes, revision: int) -> Event:
        previous = self._newest.get(key)
        if previous is None:
            insort(self._keys, key)
        entry = Entry(key, value, revision, previous.created if previous else revision)
        self._newest[key] = entry
        return self._remember(Event(key, revision, entry, previous))

    def delete(self, key: str, revision: int) -> Event:
        """The key must be there."""
        del self._keys[bisect_left(self._keys, key)]
        return self._remember(Event(key, revision, None, self._newest.pop(key)))

    def _remember(self, event: Event) -> Event:
        self._history.append(event)
        return event

    def now(self, prefix: str, after: str) -> tuple[Entry, ...]:
        """The newest entries under a prefix, behind the key ``after``."""
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        return tuple(self._newest[key] for key in self._keys[start : bisect_left(self._keys, end_of(prefix))])

    def then(self, prefix: str, after: str, revision: int) -> tuple[Entry, ...]:
        """The entries of a past revision, not before ``oldest``: today's, with the changes since taken back."""
        state: dict[str, Entry | None] = dict(self._newest)
        for event in reversed(self._history):
            if event.revision <= revision:
                break
            state[event.key] = event.previous
        found = ((key, entry) for key, entry in sorted(state.items()) if key.startswith(prefix) and key > after)
        return tuple(entry for _, entry in found if entry)

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


def _revision(event: Event) -> int:
    return event.revision


def end_of(prefix: str) -> str:
    """The first string behind every string that starts with ``prefix`` (which ends in ``/``)."""
    return prefix[:-1] + "0"
