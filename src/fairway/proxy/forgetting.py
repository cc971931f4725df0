"""Stale flows are forgotten beside the loop: a walk through the kernel's table takes tens of milliseconds.

Sync ──acknowledged──▶ suspects ──(another thread, one at a time)──▶ Tracking: removals, looks
     ◀──settled───── waits only for the places that it is about to change again

First the rules, then the flows: the other way round the next packet would bring the old flow back. And a place whose
flows are being forgotten keeps its rules so long: a backend that returns must not lose the flows it has just got.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from fairway.model.address import ANY, family_of
from fairway.model.view import FrontendKey
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.flows import (
    MOST_QUESTIONS,
    Flow,
    Node,
    Relayed,
    Spot,
    Suspect,
    collect,
    everything,
    leave_none,
    questions,
    stale,
    suspects,
)
from fairway.proxy.receipts import Round, RoundKind
from fairway.runtime.clock import Clock
from fairway.runtime.spare import LITTLE

log = logging.getLogger(__name__)

_FEW = 20
"""Frontends that are suspected at a time."""
FlowT = TypeVar("FlowT", bound=Flow)
Forgotten = Mapping[tuple[str, str], int]
"""How many flows of each family and protocol."""


class TrackingFailed(Exception):
    """Connection tracking could not be read or changed; the message says why."""


class Tracking(Protocol[FlowT]):
    """The kernel's table of flows. Every method raises `TrackingFailed`, and is called in another thread."""

    def forget(self, spot: Spot) -> int:
        """Remove every flow there; returns how many."""

    def flows(self, spot: Spot) -> Sequence[FlowT]:
        """The flows there."""

    def delete(self, flows: Sequence[FlowT]) -> int:
        """Remove exactly these; returns how many were still there."""


def forget(tracking: Tracking[FlowT], found: Sequence[Suspect], most: int = MOST_QUESTIONS) -> Forgotten:
    """Remove the stale flows of these places, and no others, in ``most`` questions. Raises `TrackingFailed`."""
    gone: Counter[tuple[str, str]] = Counter()
    asked = questions(found, most)
    for spot in asked.removals:
        gone[family_of(spot.address), spot.protocol] += tracking.forget(spot)
    for spot in asked.looks:
        for family, flows in _by_family(stale(tracking.flows(spot), found)).items():
            gone[family, spot.protocol] += tracking.delete(flows)
    return +gone


def _by_family(flows: Iterable[FlowT]) -> Mapping[str, list[FlowT]]:
    found: dict[str, list[FlowT]] = {}
    for flow in flows:
        found.setdefault(family_of(flow.destination), []).append(flow)
    return found


class Forgetting:
    """What is stale is collected from acknowledged rounds, and goes while ``run`` runs."""

    def __init__(
        self,
        tracking: Tracking[FlowT],
        cache: Cache,
        clock: Clock,
        on_done: Callable[[Forgotten, float], None] = lambda gone, seconds: None,
        relayed: Relayed = lambda key: frozenset(),
    ) -> None:
        self._forget = lambda found: forget(tracking, found)
        self._cache, self._clock, self._on_done, self._relayed = cache, clock, on_done, relayed
        self._waiting: dict[FrontendKey, Suspect] = {}
        self._unknown = False
        """Whether nobody knows what happened before the rules that there are: every frontend is suspected."""
        self._places: Collection[FrontendKey] = ()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._complained = False

    def acknowledged(self, done: Round, batch: Batch) -> None:
        """The kernel has new rules. Where nobody knows what happened before them, every flow is looked at."""
        alone = done.kind is RoundKind.CHANGE and not batch.deserted
        begins = done.kind in (RoundKind.START, RoundKind.SWITCH)
        if begins or (done.kind is RoundKind.REPAIR and done.commands):
            self._unknown = True
        if not begins and not (alone and leave_none(batch.before, self._cache.frontends)):
            collect(self._waiting, suspects(batch.before, batch.deserted, self._now()))
        if self._waiting or self._unknown:
            self._wake.set()

    def _now(self) -> Node:
        return Node(self._cache.frontends, self._cache.lingering, self._cache.settings, self._relayed)

    async def _suspect_everybody(self) -> None:
        """A few frontends at a time; one that changes meanwhile is suspected by its own round."""
        self._unknown = False
        keys, until = iter(list(self._cache.frontends)), self._clock.monotonic() + LITTLE
        while some := list(islice(keys, _FEW)):
            collect(self._waiting, everything(some, self._now()))
            if self._clock.monotonic() >= until:
                await asyncio.sleep(0)
                until = self._clock.monotonic() + LITTLE

    @property
    def busy(self) -> bool:
        """Whether flows are being forgotten."""
        return not self._idle.is_set()

    async def settled(self, changing: Collection[FrontendKey]) -> None:
        """Wait while the flows of one of these frontends are being forgotten."""
        if self.busy and any(key in self._places for key in changing):
            await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled; a walk that has begun is waited for, since the table is closed afterwards."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._unknown:
                await self._suspect_everybody()
            if self._waiting:
                await self._walk()

    async def _walk(self) -> None:
        """What fails is tried again after the next round; nothing waits for it."""
        found, self._waiting, started = self._waiting, {}, self._clock.monotonic()
        self._places = {*found, *(key._replace(address=ANY[family_of(key.address)]) for key in found)}
        self._idle.clear()
        work = asyncio.ensure_future(asyncio.to_thread(self._forget, list(found.values())))
        try:
            gone = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.gather(work, return_exceptions=True)
            raise
        except TrackingFailed as error:
            later, self._waiting = self._waiting, found
            collect(self._waiting, later.values())
            if not self._complained:
                log.warning("stale flows stay until they time out: %s", error)
            self._complained = True
        else:
            self._on_done(gone, self._clock.monotonic() - started)
        finally:
            self._idle.set()
