"""Leader election by Lease: of several who could work, one does.

    stand by ──the Lease is free, or its holder has been silent for too long──▶ lead ──▶ work
       ▲                                                                          │ renew, every retry period
       └──────── somebody else holds it, or the renew deadline has passed ────────┘ the work stops at once

Nobody compares clocks of different machines: how long a holder has been silent is measured from when *we* saw its last
renewal. Two could lead at a time only if a leader took longer to stop than the lease lasts beyond its renew deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fairway.client.http import Client
from fairway.client.transport import ServerUnreachable
from fairway.objects.codec import Document
from fairway.objects.lease import Lease
from fairway.objects.resources import LEASES
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, SystemClock, rfc3339_micro

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]
log = logging.getLogger(__name__)


class ElectionError(ValueError):
    """Durations with which an election cannot work."""


@dataclass(frozen=True, kw_only=True)
class Election:
    """Which Lease, who we are in it, and its durations in seconds; the defaults are kube-controller-manager's.

    Raises `ElectionError` unless lease > renew deadline > retry > 0.
    """

    identity: str
    name: str = "fairway-controllers"
    namespace: str = "kube-system"
    lease: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if self.lease <= self.renew_deadline:
            raise ElectionError(
                f"the lease duration ({self.lease:g} s) must be longer than the renew deadline "
                f"({self.renew_deadline:g} s), so that a leader stops before another starts"
            )
        if self.renew_deadline <= self.retry or self.retry <= 0:
            raise ElectionError(
                f"the renew deadline ({self.renew_deadline:g} s) must be longer than the retry period "
                f"({self.retry:g} s), which must be longer than 0"
            )


class Rival:
    """What we have seen of the Lease: who held it, and since when nothing has moved in it, by our own clock."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since = 0.0

    def wait(self, lease: Lease, now: float) -> float:
        """Seconds until its holder counts as gone; zero or less when it does, or when nobody holds it."""
        spec = lease.spec
        mark = (spec.holder_identity, spec.renew_time, spec.lease_transitions)
        if mark != self._seen:
            self._seen, self._since = mark, now
        if not spec.holder_identity:
            return 0.0
        return self._since + (spec.lease_duration_seconds or 0) - now


class Candidate:
    """One who stands in an election, and works while it leads."""

    def __init__(self, client: Client, election: Election, clock: Clock | None = None) -> None:
        self._client = client
        self._election = election
        self._clock = clock or SystemClock()
        self._rival = Rival()

    async def run(self, work: Work) -> None:
        """Work whenever we lead, until cancelled; then the Lease is given back, so that another need not wait.

        ``work`` is cancelled when the lead is lost, and called again when it is won again. What it raises ends this.
        """
        while True:
            renewed = await self._win()
            log.info("leading, as %s", self._election.identity)
            try:
                await self._lead(work, renewed)
            except _Lost as lost:
                log.warning("not leading any more: %s", lost)

    async def _win(self) -> float:
        """Stand by until the Lease is ours; returns when that was."""
        said = ""
        while True:
            wait = self._election.retry
            started = self._clock.monotonic()
            try:
                holder, left = await self._try()
            except (ApiError, ServerUnreachable) as error:
                _note(error)
            else:
                if holder == self._election.identity:
                    return started
                if holder != said:
                    log.info("standing by: %s leads", holder)
                    said = holder
                # The very moment when the holder's time is up, if that comes first.
                wait = min(wait, max(left, 0.01))
            await self._clock.sleep(wait)

    async def _lead(self, work: Work, renewed: float) -> None:
        working = asyncio.ensure_future(work())
        keeping = asyncio.ensure_future(self._keep(renewed))
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost = keeping.done() and not keeping.cancelled()
            await _stop(working, keeping)
            if not lost:
                await self._release()
        for ended in (working, keeping):
            if not ended.cancelled():
                ended.result()

    async def _keep(self, renewed: float) -> None:
        """Renew for as long as that works; raises `_Lost`."""
        wait = self._election.retry
        while True:
            await self._clock.sleep(wait)
            wait = self._election.retry
            started = self._clock.monotonic()
            left = renewed + self._election.renew_deadline - started
            answer = None
            try:
                answer = await _within(left, self._try(), self._clock)
                late = answer is None
            except (ApiError, ServerUnreachable) as error:
                _note(error)
                late = False
                # After a conflict somebody has written: look at once who leads.
                wait = 0.0 if isinstance(error, ApiError) and error.code == 409 else min(wait, left)
            if answer is not None and answer[0] != self._election.identity:
                raise _Lost(f"{answer[0]} has taken the lead")
            if answer is not None:
                renewed = started
            elif late or left <= 0:
                raise _Lost(f"the Lease could not be renewed for {self._election.renew_deadline:g} s")

    async def _try(self) -> tuple[str, float]:
        """Take or renew the Lease if we may: who holds it now, and for how many seconds if nothing happens."""
        try:
            lease = await self._client.get(LEASES, self._election.name, self._election.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return await self._write(None)
        mine = lease.spec.holder_identity == self._election.identity
        left = self._rival.wait(lease, self._clock.monotonic())
        if mine or left <= 0:
            return await self._write(lease)
        return lease.spec.holder_identity or "", left

    async def _write(self, lease: Lease | None) -> tuple[str, float]:
        election, now = self._election, rfc3339_micro(self._clock.now())
        spec: Document = {
            "holderIdentity": election.identity,
            "leaseDurationSeconds": election.lease,
            "renewTime": now,
        }
        if lease is None or lease.spec.holder_identity != election.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = (lease.spec.lease_transitions or 0) + 1 if lease else 0
        if lease is None:
            metadata = {"name": election.name, "namespace": election.namespace}
            await self._client.create(LEASES, {"metadata": metadata, "spec": spec})
        else:
            await self._patch(lease, spec)
        return election.identity, election.lease

    async def _patch(self, lease: Lease, spec: Document) -> None:
        """Refused with a conflict should anybody have written since we looked."""
        meta = lease.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "spec": spec}
        await self._client.patch(LEASES, meta.name, patch, meta.namespace)

    async def _release(self) -> None:
        election = self._election

        async def give_back() -> None:
            lease = await self._client.get(LEASES, election.name, election.namespace)
            if lease.spec.holder_identity == election.identity:
                now = rfc3339_micro(self._clock.now())
                await self._patch(lease, {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now})

        try:
            await _within(election.retry, give_back(), self._clock)
        except (ApiError, ServerUnreachable) as error:
            log.warning("the Lease could not be given back, so the next leader waits for its end: %s", error)


class _Lost(Exception):
    """We lead no more; the message says why."""


async def _within(seconds: float, work: Coroutine[Any, Any, T], clock: Clock) -> T | None:
    """What the work returns, None if it takes longer than that; nobody waits then for it to end."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        waiting.cancel()
        working.cancel()
        working.add_done_callback(_forget)


def _forget(ended: asyncio.Future[Any]) -> None:
    """What a request says after we have turned away is of no interest."""
    if not ended.cancelled():
        ended.exception()


async def _stop(*works: asyncio.Future[Any]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    for one in works:
        one.cancel()
    await asyncio.wait(works)


def _note(error: ApiError | ServerUnreachable) -> None:
    # A conflict means that somebody else was faster: the next look tells who.
    quiet = isinstance(error, ServerUnreachable) or error.code == 409
    log.log(logging.DEBUG if quiet else logging.WARNING, "the Lease of the leader: %s", error)
