"""How much at once, and how fast: so that one client cannot take the server from all the others.

Three limits: all requests together, one client's at the same time, and one client's in a second. Watches are open for
long and cost nothing while nothing happens, so only their beginning counts. Members of system:masters are exempt: an
administrator must get in when everybody else is in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fairway.apiserver.access.roles import MASTERS
from fairway.apiserver.access.users import NOBODY, User
from fairway.objects.status import too_many_requests
from fairway.runtime.clock import Clock

# Clients whose rate is remembered; a bucket that is full again is worth nothing, so forgetting all loses little.
_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """``inflight`` requests of all, ``per_client`` of one at the same time, ``rate`` of one in a second after a
    ``burst`` that may come at once. 0 is no limit.
    """

    inflight: int = 400
    per_client: int = 200
    rate: float = 0
    burst: int = 0


class Limits:
    """Counts what is going on, and refuses what is too much."""

    def __init__(self, limits: RequestLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._all = 0
        self._running: dict[str, int] = {}
        # client → tokens left, and when that was counted
        self._buckets: dict[str, tuple[float, float]] = {}

    @contextmanager
    def place(self, user: User, address: str, *, watch: bool) -> Iterator[None]:
        """A place for one request while the block runs; raises `ApiError` TooManyRequests when there is none."""
        if MASTERS in user.groups:
            yield
            return
        # Strangers all have one name: what tells them apart is where they are.
        client = f"@{address}" if user is NOBODY else user.name
        self._take_token(client)
        if watch:
            yield
            return
        limits, running = self._limits, self._running.get(client, 0)
        if (limits.inflight and self._all >= limits.inflight) or (limits.per_client and running >= limits.per_client):
            raise too_many_requests(1)
        self._all += 1
        self._running[client] = running + 1
        try:
            yield
        finally:
            self._all -= 1
            left = self._running[client] - 1
            if left:
                self._running[client] = left
            else:
                del self._running[client]

    def _take_token(self, client: str) -> None:
        rate, burst = self._limits.rate, max(self._limits.burst, 1)
        if not rate:
            return
        now = self._clock.monotonic()
        tokens, then = self._buckets.get(client, (float(burst), now))
        tokens = min(burst, tokens + (now - then) * rate)
        if len(self._buckets) >= _REMEMBERED and client not in self._buckets:
            self._buckets.clear()
        if tokens < 1:
            self._buckets[client] = (tokens, now)
            raise too_many_requests(max(1, round((1 - tokens) / rate)))
        self._buckets[client] = (tokens - 1, now)
