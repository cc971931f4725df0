"""What Prometheus scrapes: kube-proxy's names where they mean the same here (reference, section 3.1), and our own.

Both address families travel in one transaction, so a round counts for each family whose frontends it changed, and for
both when it compared the whole.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from fairway import __version__
from fairway.kernel.contract import ApplyFailed, Figure
from fairway.model.address import ANY, FAMILIES, family_of
from fairway.model.view import FrontendKey, FrontendKind, Key
from fairway.proxy.cache import Batch, Cache, Cause
from fairway.proxy.listeners import Listener
from fairway.proxy.receipts import Receipt, Round, RoundKind
from fairway.proxy.requests import Requests
from fairway.proxy.tallies import Numbers, Spans
from fairway.proxy.web import Answer
from fairway.runtime.clock import Clock, parse_rfc3339

_SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
_PROGRAMMING_BUCKETS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
_FAILURES = {
    "nftables": "nftables_sync_failures",
    "iptables": "iptables_restore_failures",
    "ipvs": "iptables_restore_failures",
}
"""What the reference calls a round that failed, by mode."""
_RECEIPT_BUCKETS = tuple(0.0001 * 2**power for power in range(18))
_FAMILY = "ip_family"
_MOST_PROGRAMS = 20
"""That are named in the metric of foreign changes."""
_NOTED = 100
"""Rounds and receipts that wait to be added up: many at once cost a third of what each by itself does."""

TallyT = TypeVar("TallyT", Spans, Numbers)


class Healthy(Protocol):
    """Who says whether the proxy is well."""

    @property
    def healthy(self) -> bool: ...


class Metrics(Listener):
    """A registry of its own for one proxy."""

    def __init__(
        self, cache: Cache, clock: Clock, mode: str = "nftables", features: Mapping[str, bool] | None = None
    ) -> None:
        # kube-proxy has no such series, and dashboards do not expect them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(_First(self._add_up))
        self._cache, self._clock = cache, clock
        self._started = clock.now()
        self._checked: Tally[tuple[str, str]] = Tally()
        self.health: Healthy | None = None
        self._noted: deque[tuple[Round, Sequence[Receipt], Batch]] = deque()
        self._adding: Iterator[None] = iter(())
        self._weight = 0
        self._figures: _KernelFigures | None = None
        self._of_modes: dict[str, Counter] = {}
        self._reference_metrics()
        self._count_failures(mode)
        self._own_metrics(features or {})
        self.requests = Requests(self.registry)
        self.registry.register(_FrontendCounts(cache))
        ProcessCollector(registry=self.registry)

    def follow(self, mode: str, figures: Callable[[], Iterable[Figure]]) -> None:
        """Rounds are of this mode from now on; show what its kernel counts, too."""
        self._count_failures(mode)
        if self._figures is None:
            self._figures = _KernelFigures(self._cache, figures)
            self.registry.register(self._figures)
        self._figures.figures = figures

    def _count_failures(self, mode: str) -> None:
        """What the reference counts in one mode and not in another; what there is stays."""
        rules = "kubeproxy_sync_proxy_rules"
        failures = _FAILURES.get(mode, _FAILURES["nftables"])
        self._failures = self._of_mode(f"{rules}_{failures}_total", "Rounds the kernel refused")
        if mode == "nftables":
            # Nothing is cleaned up later here: what is stale goes in the transaction that makes it so.
            self._of_mode(f"{rules}_nftables_cleanup_failures_total", "Removals of stale chains that failed")
        self._partial_failures: Counter | None = None
        if mode == "iptables":
            words = "Rounds for changes that the kernel refused"
            self._partial_failures = self._of_mode(f"{rules}_iptables_partial_restore_failures_total", words)

    def _of_mode(self, name: str, words: str) -> Counter:
        found = self._of_modes.get(name)
        if found is None:
            found = self._of_modes[name] = self._counter(name, words)
            for family in FAMILIES:
                found.labels(family)
        return found

    def _reference_metrics(self) -> None:
        sync = "kubeproxy_sync"
        rules = f"{sync}_proxy_rules"
        self._rounds = self._spans(f"{rules}_duration_seconds", "Time of a round")
        self._full = self._spans(f"{sync}_full_proxy_rules_duration_seconds", "Time of a round that compared all")
        self._partial = self._spans(f"{sync}_partial_proxy_rules_duration_seconds", "Time of a round for changes")
        self._last = self._gauge(f"{rules}_last_timestamp_seconds", "When a round last succeeded", _FAMILY)
        self._queued = self._gauge(
            f"{rules}_last_queued_timestamp_seconds", "When a round was last asked for", _FAMILY, FAMILIES
        )
        self.pending()
        self._programming = self._spans(
            "kubeproxy_network_programming_duration_seconds",
            "From the change of a pod until the kernel had it",
            bounds=_PROGRAMMING_BUCKETS,
        )
        self._flow_time = self._histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds", "Removing stale flows"
        )
        self._flow_count = self._counter("kubeproxy_conntrack_reconciler_deleted_entries_total", "Stale flows removed")
        kinds = (("EndpointSlice", "endpoint"), ("Service", "service"))
        self._changes = {kind: self._count(f"{rules}_{word}_changes", f"Events of {kind}s") for kind, word in kinds}
        self._pending = {
            kind: self._gauge(f"{rules}_{word}_changes_pending", f"{kind}s that wait") for kind, word in kinds
        }
        self._probes = {
            path: Counter(f"kubeproxy_proxy_{path}_total", f"Answers of /{path}", ["code"], registry=self.registry)
            for path in ("healthz", "livez")
        }

    def _own_metrics(self, features: Mapping[str, bool]) -> None:
        own = "fairway_proxy"
        build = Gauge(f"{own}_build_info", "The version", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        reference = Gauge("kubernetes_build_info", "The version", ["git_version"], registry=self.registry)
        reference.labels(f"fairway-{__version__}").set(1)
        words = "Feature gates that mean something here"
        gate = Gauge("kubernetes_feature_enabled", words, ["name", "stage"], registry=self.registry)
        for name, value in features.items():
            gate.labels(name, "").set(value)
        self._receipts = self._spans(
            f"{own}_programming_seconds",
            "From the arrival of an event until the kernel acknowledged what follows from it",
            "kind",
            _RECEIPT_BUCKETS,
        )
        self._commands = self._count(f"{own}_commands", "Commands applied", "round")
        self._repairs = self._count(
            f"{own}_repairs", "Foreign changes that were put back, by whose they were", "program"
        )
        self._stale = Counter(
            f"{own}_stale_flows_total", "Stale flows removed", ["ip_family", "protocol"], registry=self.registry
        )

    def probed(self, path: str, code: int) -> None:
        """A health probe was answered."""
        self._probes[path].labels(str(code)).inc()
        self._checked[path, "success" if code == 200 else "error"] += 1

    def event(self, cause: Cause) -> None:
        """An object changed."""
        self._changes[cause.kind].add("")
        self._pending[cause.kind].add("")

    def pending(self) -> None:
        self._queued.values = dict.fromkeys(FAMILIES, self._clock.now())

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> Iterator[None] | None:
        self._noted.append((done, receipts, batch))
        self._weight += 1 + len(receipts)
        return self._steps() if self._weight > _NOTED else None

    def _add_up(self) -> None:
        """All rounds that were only noted."""
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[None]:
        """The same, a little in each step; what one caller leaves, the next one does."""
        while True:
            yield from self._adding
            if not self._noted:
                return
            done, receipts, batch = self._noted.popleft()
            self._weight -= 1 + len(receipts)
            self._adding = self._add(done, receipts, batch)

    def _add(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> Iterator[None]:
        whole = done.kind is not RoundKind.CHANGE
        families = FAMILIES if whole else {family_of(key.address) for key in batch.before}
        for family in families:
            self._rounds.observe(family, done.seconds)
            (self._full if whole else self._partial).observe(family, done.seconds)
            self._last.values[family] = done.at
        self._commands.add(done.kind, done.commands)
        if done.by and done.commands:
            self._repair(done.by.partition(" (")[0])
        for one in receipts:
            self._receipts.observe(one.kind, one.seconds)
            self._pending[one.kind].add("", -1)
            yield
        for cause in batch.causes:
            # What happened before this process began says nothing about it.
            if cause.trigger and (moment := _moment(cause.trigger)) is not None and moment >= self._started:
                for family in families:
                    self._programming.observe(family, max(0.0, done.at - moment))
            yield

    def _repair(self, program: str) -> None:
        """Whoever may write to nf_tables may also call its processes as it likes."""
        known = self._repairs.values
        self._repairs.add(program if program in known or len(known) < _MOST_PROGRAMS else "others")

    def failed(self, kind: RoundKind, error: ApplyFailed) -> None:
        for family in FAMILIES:
            self._failures.labels(family).inc()
            if self._partial_failures is not None and kind is RoundKind.CHANGE:
                self._partial_failures.labels(family).inc()

    def forgot_flows(self, gone: Mapping[tuple[str, str], int], seconds: float) -> None:
        """Stale flows were looked for, and so many of each family and protocol removed; one walk serves both."""
        for family in FAMILIES:
            self._flow_time.labels(family).observe(seconds)
        for (family, protocol), count in gone.items():
            self._flow_count.labels(family).inc(count)
            self._stale.labels(family, protocol).inc(count)

    def scrape(self) -> Answer:
        """The text that Prometheus reads."""
        return Answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(self.registry))

    def indicators(self) -> Answer:
        """/metrics/slis: what the reference's components say of their own health there."""
        lines = ["# TYPE kubernetes_healthcheck gauge"]
        good = self.health is None or self.health.healthy
        lines += [f'kubernetes_healthcheck{{name="ping",type="{path}"}} {int(good)}' for path in ("healthz", "livez")]
        lines += ["# TYPE kubernetes_healthchecks_total counter"]
        lines += [
            f'kubernetes_healthchecks_total{{name="ping",status="{status}",type="{path}"}} {count}'
            for (path, status), count in sorted(self._checked.items())
        ]
        return Answer(200, "text/plain; version=0.0.4; charset=utf-8", ("\n".join(lines) + "\n").encode())

    def _spans(self, name: str, text: str, label: str = _FAMILY, bounds: Sequence[float] = _SYNC_BUCKETS) -> Spans:
        return self._registered(Spans(name, text, label, bounds))

    def _gauge(self, name: str, text: str, label: str = "", known: Iterable[str] = ()) -> Numbers:
        return self._registered(Numbers(GaugeMetricFamily, name, text, label, known))

    def _count(self, name: str, text: str, label: str = "") -> Numbers:
        return self._registered(Numbers(CounterMetricFamily, name, text, label))

    def _registered(self, one: TallyT) -> TallyT:
        self.registry.register(one)
        return one

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, [_FAMILY], buckets=_SYNC_BUCKETS, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, [_FAMILY], registry=self.registry)


class _First:
    """A collector that has nothing to say, but does something before the others say it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._work()
        return ()


class _FrontendCounts:
    """Counted when somebody scrapes, so that no change pays for it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        ports: set[tuple[str, str, Key, str, str]] = set()
        for one in self._cache.no_local_endpoints():
            policy = "internal" if one.kind is FrontendKind.CLUSTER_IP else "external"
            ports.add((policy, one.family, one.service, one.port_name, one.protocol))
        lonely = Tally({(policy, family): 0 for policy in ("internal", "external") for family in FAMILIES})
        lonely.update((policy, family) for policy, family, *_ in ports)
        family = GaugeMetricFamily(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Service ports kept to this node by their policy, without an endpoint here",
            labels=["traffic_policy", "ip_family"],
        )
        for labels, count in sorted(lonely.items()):
            family.add_metric(labels, count)
        yield family
        troubled = len(self._cache.troubles.services())
        yield GaugeMetricFamily("fairway_proxy_troubled_services", "Services with problems", value=troubled)
        yield GaugeMetricFamily("fairway_proxy_frontends", "Frontends in the kernel", value=len(self._cache.frontends))
        yield GaugeMetricFamily("fairway_proxy_services", "Services known", value=self._cache.services)
        yield GaugeMetricFamily("fairway_proxy_endpointslices", "EndpointSlices known", value=self._cache.slices)


class _KernelFigures:
    """What the mode's kernel counts, each sample with the Service it is about, if it is about one."""

    def __init__(self, cache: Cache, figures: Callable[[], Iterable[Figure]]) -> None:
        self._cache, self.figures = cache, figures

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for one in self.figures():
            family = families.get(one.name)
            if family is None:
                kind = one.kind or ("counter" if one.name.endswith("_total") else "gauge")
                name = one.name.removesuffix("_total") if kind == "counter" else one.name
                family = families[one.name] = Metric(name, one.help, kind)
            owner = {"service": self._service(one.labels)} if "address" in one.labels else {}
            family.add_sample(one.name, {**owner, **one.labels}, one.value)
        return families.values()

    def _service(self, labels: Mapping[str, str]) -> str:
        address, protocol, port = labels["address"], labels["protocol"], int(labels["port"])
        frontends = self._cache.frontends
        found = frontends.get(FrontendKey(address, protocol, port))
        found = found or frontends.get(FrontendKey(ANY[family_of(address)], protocol, port))
        return str(found.service) if found else ""


def _moment(text: str) -> float | None:
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        return None
