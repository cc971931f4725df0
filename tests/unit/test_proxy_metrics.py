"""Unit tests of `fairway.proxy.metrics`."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from fairway.client.observed import Answered, Exchange
from fairway.kernel.contract import ApplyFailed, Figure
from fairway.model.view import FrontendKey, Key, NodeSettings
from fairway.objects.endpointslice import SERVICE_NAME_LABEL, Endpoint, EndpointPort, EndpointSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Batch, Cache, Cause
from fairway.proxy.metrics import Metrics
from fairway.proxy.receipts import Receipts, Round, RoundKind
from fairway.runtime.clock import FakeClock, rfc3339

KEY = Key("shop", "cart")
LONELY = {"internal": 1.0, "external": 1.0}


class Desk:
    """Metrics of a cache, read back by name."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cache = Cache(NodeSettings(name="node-a"))
        self.metrics = Metrics(self.cache, self.clock)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def round(self, kind: RoundKind, batch: Batch, commands: int = 3, by: str = "") -> None:
        now = self.clock.now()
        receipts = Receipts().add(batch.causes, at=now, monotonic=self.clock.monotonic(), commands=commands)
        done = Round(kind=kind, at=now, seconds=0.002, commands=commands, frontends=len(batch.before), by=by)
        for _ in self.metrics.finished(done, receipts, batch) or ():
            pass


def test_an_event_waits_until_its_round_and_counts_for_the_family_it_changed() -> None:
    desk = Desk()
    cause = Cause("Service", KEY, "7", desk.clock.monotonic())
    desk.metrics.event(cause)
    assert desk.value("kubeproxy_sync_proxy_rules_service_changes_pending") == 1
    desk.clock.advance(0.5)
    desk.round(RoundKind.CHANGE, Batch(before={FrontendKey("10.96.0.7", "TCP", 80): None}, causes=[cause]))
    assert desk.value("kubeproxy_sync_proxy_rules_service_changes_pending") == 0
    assert desk.value("kubeproxy_sync_proxy_rules_service_changes_total") == 1
    assert desk.value("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", ip_family="IPv4") == 1
    assert desk.value("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", ip_family="IPv6") is None
    assert desk.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", ip_family="IPv4") == desk.clock.now()
    assert desk.value("fairway_proxy_programming_seconds_sum", kind="Service") == 0.5


def test_a_scrape_sees_every_round_before_it_and_without_one_only_some_rounds_are_kept() -> None:
    desk = Desk()
    batches: list[weakref.ref[Batch]] = []
    for number in range(1000):
        cause = Cause("EndpointSlice", KEY, str(number), desk.clock.monotonic())
        desk.metrics.event(cause)
        batch = Batch(before={FrontendKey("10.96.0.7", "TCP", 80): None}, causes=[cause])
        batches.append(weakref.ref(batch))
        desk.round(RoundKind.CHANGE, batch)
        if number in (0, 1, 700):
            assert desk.value("kubeproxy_sync_proxy_rules_duration_seconds_count", ip_family="IPv4") == number + 1
            assert desk.value("fairway_proxy_commands_total", round="change") == 3 * (number + 1)
            assert desk.value("kubeproxy_sync_proxy_rules_endpoint_changes_pending") == 0
    assert sum(one() is not None for one in batches) < 100
    desk.round(RoundKind.START, Batch(causes=[cause] * 20_000))
    assert [one() for one in batches if one() is not None] == [batch]
    assert desk.value("fairway_proxy_programming_seconds_count", kind="EndpointSlice") == 21_000


def test_a_repair_counts_for_who_made_it_necessary_when_it_changed_something() -> None:
    desk = Desk()
    desk.round(RoundKind.REPAIR, Batch(), commands=0, by="nft (pid 123)")
    desk.round(RoundKind.REPAIR, Batch(), commands=4, by="firewalld (pid 7)")
    desk.round(RoundKind.REPAIR, Batch(), commands=4, by="firewalld (pid 8)")
    desk.round(RoundKind.REPAIR, Batch(), commands=4)  # after a failure of our own
    assert desk.value("fairway_proxy_repairs_total", program="firewalld") == 2
    assert desk.value("fairway_proxy_repairs_total", program="nft") is None
    assert desk.value("kubeproxy_sync_full_proxy_rules_duration_seconds_count", ip_family="IPv6") == 4


def test_programs_that_call_themselves_ever_differently_are_not_a_metric_each() -> None:
    desk = Desk()
    for number in range(50):
        desk.round(RoundKind.REPAIR, Batch(), by=f"nft-{number} (pid {number})")
    assert desk.value("fairway_proxy_repairs_total", program="nft-0") == 1
    assert desk.value("fairway_proxy_repairs_total", program="nft-49") is None
    assert desk.value("fairway_proxy_repairs_total", program="others") == 30


@pytest.mark.reference("7.4 TestLastChangeTriggerTime")
def test_programming_latency_is_measured_from_the_pods_change_but_not_from_before_our_time() -> None:
    desk = Desk()
    old, new = rfc3339(desk.clock.now() - 3600), rfc3339(desk.clock.now() + 2)
    causes = [Cause("EndpointSlice", KEY, "1", desk.clock.monotonic(), one) for one in (old, new, "nonsense", "")]
    desk.clock.advance(4)
    desk.round(RoundKind.CHANGE, Batch(before={FrontendKey("10.96.0.7", "TCP", 80): None}, causes=causes))
    assert desk.value("kubeproxy_network_programming_duration_seconds_count", ip_family="IPv4") == 1


def test_failures_probes_and_forgotten_flows_are_counted() -> None:
    desk = Desk()
    desk.metrics.failed(RoundKind.CHANGE, ApplyFailed("no"))
    desk.metrics.probed("healthz", 503)
    desk.metrics.forgot_flows({("IPv4", "UDP"): 3}, 0.01)
    assert desk.value("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", ip_family="IPv4") == 1
    assert desk.value("kubeproxy_proxy_healthz_total", code="503") == 1
    assert desk.value("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family="IPv4") == 3


@pytest.mark.reference("7.2 TestNoEndpointsMetric")
@pytest.mark.parametrize(
    "policies, node, expected",
    [
        ({}, "node-b", {}),
        ({"internal_traffic_policy": "Local"}, "node-a", {}),
        ({"internal_traffic_policy": "Local"}, "node-b", {"internal": 1}),
        ({"external_traffic_policy": "Local"}, "node-b", {"external": 1}),
        ({"internal_traffic_policy": "Local", "external_traffic_policy": "Local"}, "node-b", LONELY),
        ({"internal_traffic_policy": "Local", "external_traffic_policy": "Local"}, "node-a", {}),
        ({"internal_traffic_policy": "Local", "external_traffic_policy": "Local"}, "", {}),
    ],
)
def test_frontends_kept_to_a_node_without_an_endpoint_are_counted(
    policies: dict[str, Any], node: str, expected: dict[str, float]
) -> None:
    """``node`` is where the only endpoint runs; empty: there is none, so nobody misses one here."""
    desk = Desk()
    ports = (ServicePort(port=80, node_port=30080),)
    service = Service(
        metadata=ObjectMeta(namespace="shop", name="cart"),
        spec=ServiceSpec(type="NodePort", cluster_ip="10.96.0.7", ports=ports, **policies),
    )
    desk.cache.put_service(KEY, service, Cause("Service", KEY, "1", 0.0))
    if node:
        labels = {SERVICE_NAME_LABEL: "cart"}
        slice_ = EndpointSlice(
            metadata=ObjectMeta(namespace="shop", name="cart-a", labels=labels),
            address_type="IPv4",
            ports=(EndpointPort(name="", port=8080),),
            endpoints=(Endpoint(addresses=("10.244.1.7",), node_name=node),),
        )
        desk.cache.put_slice(Key("shop", "cart-a"), slice_, Cause("EndpointSlice", KEY, "2", 0.0))
    desk.cache.take()
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    counted = {policy: desk.value(name, traffic_policy=policy, ip_family="IPv4") for policy in LONELY}
    assert {policy: count for policy, count in counted.items() if count} == expected


def test_a_scrape_counts_what_the_cache_holds() -> None:
    desk = Desk()
    service = Service(
        metadata=ObjectMeta(namespace="shop", name="cart"),
        spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80),)),
    )
    desk.cache.put_service(KEY, service, Cause("Service", KEY, "1", 0.0))
    desk.cache.take()
    page = desk.metrics.scrape().body.decode()
    assert "fairway_proxy_frontends 2.0" in page
    assert "fairway_proxy_services 1.0" in page
    assert "_created" not in page
    assert "# TYPE kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge" in page


_SYNC = tuple(0.001 * 2**n for n in range(15))
_LATENCY = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
_CALL = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_SIZE = (64, 256, 512, *(1024 * 4**n for n in range(8)))
_FAMILY = ("ip_family",)
_RULES = "kubeproxy_sync_proxy_rules"
REFERENCE: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    f"{_RULES}_duration_seconds": ("histogram", _FAMILY, _SYNC),
    "kubeproxy_sync_full_proxy_rules_duration_seconds": ("histogram", _FAMILY, _SYNC),
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": ("histogram", _FAMILY, _SYNC),
    f"{_RULES}_last_timestamp_seconds": ("gauge", _FAMILY, ()),
    f"{_RULES}_last_queued_timestamp_seconds": ("gauge", _FAMILY, ()),
    "kubeproxy_network_programming_duration_seconds": ("histogram", _FAMILY, _LATENCY),
    f"{_RULES}_endpoint_changes_pending": ("gauge", (), ()),
    f"{_RULES}_endpoint_changes": ("counter", (), ()),
    f"{_RULES}_service_changes_pending": ("gauge", (), ()),
    f"{_RULES}_service_changes": ("counter", (), ()),
    f"{_RULES}_no_local_endpoints_total": ("gauge", ("traffic_policy", "ip_family"), ()),
    "kubeproxy_proxy_healthz": ("counter", ("code",), ()),
    "kubeproxy_proxy_livez": ("counter", ("code",), ()),
    f"{_RULES}_nftables_sync_failures": ("counter", _FAMILY, ()),
    f"{_RULES}_nftables_cleanup_failures": ("counter", _FAMILY, ()),
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": ("histogram", _FAMILY, _SYNC),
    "kubeproxy_conntrack_reconciler_deleted_entries": ("counter", _FAMILY, ()),
    "rest_client_requests": ("counter", ("code", "method", "host"), ()),
    "rest_client_request_duration_seconds": ("histogram", ("verb", "host"), _CALL),
    "rest_client_request_size_bytes": ("histogram", ("verb", "host"), _SIZE),
    "rest_client_response_size_bytes": ("histogram", ("verb", "host"), _SIZE),
    "kubernetes_build_info": ("gauge", ("git_version",), ()),
    "kubernetes_feature_enabled": ("gauge", ("name", "stage"), ()),
}
"""The reference's section 3.1: type, labels and buckets. The text ends the names of counters with _total."""


def busy() -> Desk:
    """One that has seen everything there is to count."""
    desk = Desk()
    desk.metrics = Metrics(desk.cache, desk.clock, "nftables", {"AllowServiceExternalIPs": True})
    desk.clock.advance(5)
    for kind in ("Service", "EndpointSlice"):
        desk.metrics.event(Cause(kind, KEY, "1", desk.clock.monotonic(), rfc3339(desk.clock.now())))
    causes = [Cause("EndpointSlice", KEY, "1", desk.clock.monotonic(), rfc3339(desk.clock.now()))]
    desk.round(RoundKind.START, Batch(causes=causes))
    desk.round(RoundKind.CHANGE, Batch(before={FrontendKey("10.96.0.7", "TCP", 80): None}))
    desk.metrics.failed(RoundKind.CHANGE, ApplyFailed("no"))
    desk.metrics.forgot_flows({("IPv4", "UDP"): 1}, 0.1)
    for path in ("healthz", "livez"):
        desk.metrics.probed(path, 200)
    desk.metrics.requests(Exchange("GET", "https://10.0.0.1:6443", 200, Answered(0.1, 0, 1000)))
    return desk


@pytest.mark.parametrize("name", REFERENCE)
def test_a_metric_of_the_reference_has_its_type_labels_and_buckets(name: str) -> None:
    kind, labels, buckets = REFERENCE[name]
    (found,) = (one for one in busy().metrics.registry.collect() if one.name == name)
    assert found.type == kind
    names = {label for sample in found.samples for label in sample.labels}
    assert names == {*labels, *(["le"] if buckets else [])}
    bounds = {float(one.labels["le"]) for one in found.samples if one.name.endswith("_bucket")}
    assert sorted(bounds - {float("inf")}) == pytest.approx(sorted(buckets))


@pytest.mark.parametrize("mode, name", [("iptables", "iptables_restore"), ("ipvs", "iptables_restore")])
def test_failures_have_the_name_that_the_reference_gives_them_in_the_mode(mode: str, name: str) -> None:
    desk = Desk()
    metrics = Metrics(desk.cache, desk.clock, mode)
    metrics.failed(RoundKind.CHANGE, ApplyFailed("no"))
    sample = f"kubeproxy_sync_proxy_rules_{name}_failures_total"
    assert metrics.registry.get_sample_value(sample, {"ip_family": "IPv6"}) == 1


def test_only_changes_are_partial_and_only_in_the_iptables_mode() -> None:
    desk = Desk()
    metrics = Metrics(desk.cache, desk.clock, "iptables")
    for kind in (RoundKind.START, RoundKind.CHANGE, RoundKind.REPAIR):
        metrics.failed(kind, ApplyFailed("no"))
    sample = "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total"
    assert metrics.registry.get_sample_value(sample, {"ip_family": "IPv4"}) == 1
    assert desk.value(sample, ip_family="IPv4") is None


def test_what_the_kernel_counts_has_its_own_kind_and_a_service_only_where_it_is_of_one() -> None:
    desk = Desk()
    name = "kubeproxy_sync_proxy_rules_iptables_total"
    desk.metrics.follow("iptables", lambda: [Figure(name, "Rules", {"table": "nat", "ip_family": "IPv4"}, 7, "gauge")])
    text = desk.metrics.scrape().body.decode()
    assert f"# TYPE {name} gauge" in text
    assert f'{name}{{ip_family="IPv4",table="nat"}} 7.0' in text


def test_no_local_endpoints_count_service_ports_and_are_zero_where_there_are_none() -> None:
    desk = Desk()
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    for policy in ("internal", "external"):
        for family in ("IPv4", "IPv6"):
            assert desk.value(name, traffic_policy=policy, ip_family=family) == 0


def test_probes_are_counted_among_the_indicators() -> None:
    text = busy().metrics.indicators().body.decode()
    assert 'kubernetes_healthcheck{name="ping",type="healthz"} 1' in text
    assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 1' in text
