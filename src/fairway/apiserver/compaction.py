"""Forgetting the past: what was superseded some minutes ago, or too many changes ago, is compacted away."""

from __future__ import annotations

import logging
from collections import deque

from fairway.apiserver.storage.contract import Storage, StorageError
from fairway.runtime.clock import Clock

INTERVAL_SECONDS = 30.0
# As etcd under kube-apiserver: a client that was away for less than this continues where it was.
KEPT_SECONDS = 300.0
KEPT_REVISIONS = 100_000

log = logging.getLogger(__name__)


class Compaction:
    """Decides what may go: pure, told the time and the newest revision."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def limit(self, now: float, newest: int) -> int:
        """The revision to compact to, 0 for nothing yet. ``now`` is in seconds of a clock that never goes back."""
        self._marks.append((now, newest))
        by_age = 0
        while self._marks[0][0] <= now - KEPT_SECONDS:
            by_age = self._marks.popleft()[1]
        return max(by_age, newest - KEPT_REVISIONS, 0)


async def compact_periodically(storage: Storage, clock: Clock) -> None:
    """Compact until cancelled; a storage that cannot be written now is tried again later."""
    compaction = Compaction()
    while True:
        await clock.sleep(INTERVAL_SECONDS)
        limit = compaction.limit(clock.monotonic(), storage.revision)
        try:
            if limit:
                await storage.compact(limit)
        except StorageError as error:
            log.warning("compaction failed: %s", error)
