"""What the proxy gives its relay, and reads of it: certificates, the access log, how connections ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fairway.model.address import family_of
from fairway.model.view import FrontendKey, Key, Pool
from fairway.modes.userspace.program import ADDRESSES, ListenerKey
from fairway.relay.certificates import Certificates
from fairway.relay.control import Figures
from fairway.relay.process import RelayProcess


class RelaySide:
    """One for a proxy; also a collector of metrics, which are counted when somebody scrapes.

    ``access_log`` is the path of that file, or ``-``.
    """

    def __init__(self, access_log: str) -> None:
        # The relay is somewhere else, and may outlive the directory that we are in.
        self._access_log = access_log if access_log == "-" else str(Path(access_log).absolute())
        self.relay: RelayProcess | None = None
        self.certificates = Certificates(self._certificate_changed)

    def make(self, prepare: Callable[[], None]) -> RelayProcess:
        """The relay; ``prepare`` as in `RelayProcess`."""
        self.relay = RelayProcess(access_log=self._access_log, prepare=prepare)
        return self.relay

    def places(self, key: FrontendKey) -> frozenset[tuple[str, int]]:
        """Where a frontend's listeners are."""
        ports = (self.relay.port(ListenerKey(key, pool)) for pool in Pool) if self.relay else ()
        return frozenset((ADDRESSES[family_of(key.address)], port) for port in ports if port)

    def settled(self) -> None:
        """The kernel has acknowledged a round."""
        if self.relay is not None:
            self.relay.settled()

    def status(self) -> dict[str, int]:
        """For people: the relay's process (0: there is none, since nothing is relayed) and what goes on in it."""
        figures = self.relay.figures() if self.relay else Figures()
        return {
            "process": self.relay.process if self.relay else 0,
            "listeners": figures.listeners,
            "connections": figures.connections,
            "flows": figures.flows,
        }

    def collect(self) -> Iterator[Metric]:
        own = "fairway_relay"
        figures = self.relay.figures() if self.relay else Figures()
        ended = CounterMetricFamily(
            f"{own}_connections", "Relayed connections and UDP flows that have ended, by how", labels=["end"]
        )
        for end, count in sorted(figures.ended.items()):
            ended.add_metric([end], count)
        yield ended
        active = figures.connections + figures.flows
        yield GaugeMetricFamily(f"{own}_active", "Relayed connections and UDP flows at this moment", value=active)
        yield GaugeMetricFamily(f"{own}_listeners", "Listeners of the relay", value=figures.listeners)
        words = "Bytes that the relay has taken and its peers have not: of those who read slowly, or not at all"
        yield GaugeMetricFamily(f"{own}_waiting_bytes", words, value=figures.waiting_bytes)
        yield CounterMetricFamily(
            f"{own}_access_log_lost_lines", "Lines of the access log that were not kept", value=figures.lost_lines
        )

    def _certificate_changed(self, secret: Key, data: Mapping[str, str] | None) -> None:
        if self.relay is not None:
            self.relay.certificate(secret, data)
