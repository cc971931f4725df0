"""Limits of a Service on one node: how many connections at one time, and how many new ones a second.

A rate is a bucket that fills at that rate and holds one second's worth, at least one: a client that was quiet may
begin with a burst, and over any longer time gets the rate.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fairway.model.view import Relaying

MOST_CLIENTS = 65_536
"""Clients whose buckets are kept; a full bucket needs no memory, so those not seen for longest go first."""


@dataclass
class _Bucket:
    tokens: float
    at: float

    def take(self, rate: float, now: float) -> bool:
        most = max(1.0, rate)
        self.tokens = min(most, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Limits:
    """The count for one Service. Moments are readings of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.active = 0
        self._active: dict[str, int] = {}
        self._bucket: _Bucket | None = None
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, client: str, wanted: Relaying, now: float) -> str:
        """Count a new connection in, or say which limit it would break; then it is not counted."""
        if wanted.most and self.active >= wanted.most:
            return "max-connections"
        if wanted.most_per_client and self._active.get(client, 0) >= wanted.most_per_client:
            return "max-connections-per-client"
        # The client's own bucket first: who asks too often must not use up what the others may have.
        if wanted.rate_per_client and not self._of(client, wanted.rate_per_client, now).take(
            wanted.rate_per_client, now
        ):
            return "connection-rate-per-client"
        if wanted.rate:
            if self._bucket is None:
                self._bucket = _Bucket(max(1.0, wanted.rate), now)
            if not self._bucket.take(wanted.rate, now):
                return "connection-rate"
        self.active += 1
        self._active[client] = self._active.get(client, 0) + 1
        return ""

    def leave(self, client: str) -> None:
        """A connection that was admitted has ended."""
        self.active -= 1
        remaining = self._active[client] - 1
        if remaining:
            self._active[client] = remaining
        else:
            del self._active[client]

    def _of(self, client: str, rate: float, now: float) -> _Bucket:
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(max(1.0, rate), now)
            if len(self._buckets) > MOST_CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        return bucket
