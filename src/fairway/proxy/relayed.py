"""What the proxy gives its relay, and reads of it: certificates, the access log, how connections ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fairway.relay.accesslog import AccessLog
from fairway.relay.certificates import Certificates
from fairway.relay.relay import Relay


@dataclass(eq=False)
class RelaySide:
    """One for a proxy; also a collector of metrics, which are counted when somebody scrapes."""

    log: AccessLog
    certificates: Certificates = field(default_factory=Certificates)
    relay: Relay | None = None

    def make(self, prepare: Callable[[], None]) -> Relay:
        """The relay; ``prepare`` as in `Relay`."""
        self.relay = Relay(contexts=self.certificates.context, log=self.log.add, prepare=prepare)
        return self.relay

    def collect(self) -> Iterator[Metric]:
        own = "fairway_relay"
        counts = self.relay.counts() if self.relay else {}
        ended = CounterMetricFamily(
            f"{own}_connections", "Relayed connections and UDP flows that have ended, by how", labels=["end"]
        )
        for end, count in sorted(counts.items()):
            ended.add_metric([end], count)
        yield ended
        active = sum(self.relay.left) if self.relay else 0
        yield GaugeMetricFamily(f"{own}_active", "Relayed connections and UDP flows at this moment", value=active)
        yield CounterMetricFamily(
            f"{own}_access_log_lost_lines", "Lines of the access log that were not kept", value=self.log.lost
        )
