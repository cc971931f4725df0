"""How much each Service is used: new connections as the kernel counts them, flows as it tracks them.

    frontends' counters ──┐
                          ├── sampled in another thread, seconds apart ──▶ by Service ──▶ the busiest as metrics
    tracked flows ────────┘

Every label of a metric is a series that somebody stores for ever, so only the busiest Services have series of their
own; the sum over all has one, too. Nothing of it lies on the way of a packet or of a change but the kernel's counter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from fairway.kernel.contract import ApplyFailed
from fairway.model.address import ANY, family_of
from fairway.model.view import FrontendKey, Key
from fairway.proxy.cache import Cache
from fairway.proxy.forgetting import TrackingFailed
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 15.0
_LABELS = ["namespace", "service"]


class Sample(NamedTuple):
    """What the kernel said at one moment. ``connections`` are counted from when the frontend's element was made."""

    connections: Mapping[FrontendKey, int]
    flows: Mapping[FrontendKey, int]
    """Both by where clients sent them to: a node port may be on each of the node's addresses."""
    seconds: float = 0.0


@dataclass
class Sources:
    """Where samples come from; called in another thread. ``connections`` is None in a mode that does not count."""

    flows: Callable[[], Iterable[FrontendKey]]
    connections: Callable[[], Mapping[FrontendKey, int]] | None = None


class Usage:
    """A collector for Prometheus' registry, while ``run`` runs."""

    def __init__(self, cache: Cache, sources: Sources, most: int, clock: Clock) -> None:
        self._cache, self._sources, self._most, self._clock = cache, sources, most, clock
        self._seen: Mapping[FrontendKey, int] = {}
        self._connections: Counter[Key] = Counter()
        self._flows: Counter[Key] = Counter()
        self._total = 0
        self._seconds = 0.0
        self._complained = False

    def follow(self, connections: Callable[[], Mapping[FrontendKey, int]] | None) -> None:
        """Another mode counts from now on, or does not."""
        self._sources.connections = connections

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.take(await asyncio.to_thread(self.sample))
            except (ApplyFailed, TrackingFailed) as error:
                if not self._complained:
                    log.warning("--service-metrics: cannot be counted now: %s", error)
                self._complained = True
            await self._clock.sleep(SAMPLE_SECONDS)

    def sample(self) -> Sample:
        """Ask the kernel; takes as long as it has elements and flows. Raises `ApplyFailed` and `TrackingFailed`."""
        started = self._clock.monotonic()
        count = self._sources.connections
        connections = count() if count else {}
        flows = Counter(self._sources.flows())
        return Sample(connections, flows, self._clock.monotonic() - started)

    def take(self, sample: Sample) -> None:
        """Add what is new since the last one. A frontend whose element was made anew begins at zero."""
        for key, count in sample.connections.items():
            before = self._seen.get(key, 0)
            new = count - before if count >= before else count
            if new and (service := self._service_at(key)):
                self._connections[service] += new
                self._total += new
        self._seen = sample.connections
        if len(self._connections) > 2 * self._cache.services + self._most:
            there = {frontend.service for frontend in self._cache.frontends.values()}
            self._connections = Counter({key: n for key, n in self._connections.items() if key in there})
        self._flows = Counter()
        for key, count in sample.flows.items():
            if service := self._service_at(key):
                self._flows[service] += count
        self._seconds = sample.seconds
        self._complained = False

    def collect(self) -> Iterable[Metric]:
        """The busiest Services by connections, then by flows, and all of them together."""
        busiest = self._busiest()
        if self._sources.connections is not None:
            words = "New connections, also those that were refused"
            each = CounterMetricFamily("fairway_service_new_connections", words, labels=_LABELS)
            yield _filled(each, busiest, self._connections)
            yield CounterMetricFamily("fairway_proxy_new_connections", f"{words}, of all Services", value=self._total)
        words = "Flows of TCP and UDP that connection tracking knows"
        yield _filled(GaugeMetricFamily("fairway_service_active_flows", words, labels=_LABELS), busiest, self._flows)
        yield GaugeMetricFamily("fairway_proxy_active_flows", f"{words}, of all Services", value=self._flows.total())
        words = "What it took to ask the kernel for these the last time"
        yield GaugeMetricFamily("fairway_proxy_service_metrics_seconds", words, value=self._seconds)

    def _busiest(self) -> list[Key]:
        known = {*self._connections, *self._flows}
        order = sorted(known, key=lambda one: (-self._connections[one], -self._flows[one], one))
        return sorted(order[: self._most])

    def _service_at(self, key: FrontendKey) -> Key | None:
        found = self._cache.frontends.get(key)
        if found is None and self._cache.settings.takes_node_ports(key.address):
            found = self._cache.frontends.get(FrontendKey(ANY[family_of(key.address)], key.protocol, key.port))
        return found.service if found and found.service.namespace else None  # the canary is nobody's Service


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, services: Iterable[Key], values: Mapping[Key, int]
) -> Metric:
    for one in services:
        family.add_metric([one.namespace, one.name], values.get(one, 0))
    return family
