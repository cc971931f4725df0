"""Metrics by Service: what samples add up to, and how many series there are."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from fairway.model.view import FrontendKey, NodeSettings
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Cache, Cause
from fairway.proxy.usage import Sample, Sources, Usage
from fairway.runtime.clock import FakeClock

NODE = NodeSettings(name="node-a", addresses=("192.168.0.2", "127.0.0.1"))


def desk(services: int = 3, most: int = 2, counts: bool = True) -> tuple[Usage, CollectorRegistry]:
    cache = Cache(NODE)
    for number in range(services):
        one = Service(
            metadata=ObjectMeta(namespace="shop", name=f"s{number}"),
            spec=ServiceSpec(
                type="NodePort",
                cluster_ip=f"10.96.0.{number}",
                ports=(ServicePort(port=80, node_port=30000 + number),),
            ),
        )
        cache.put_service(one.key, one, Cause("Service", one.key, "1", 0.0))
    cache.take()
    sources = Sources(lambda: iter([key(0), key(0), node_port(1)]), (lambda: {key(0): 5}) if counts else None)
    usage = Usage(cache, sources, most, FakeClock())
    registry = CollectorRegistry()
    registry.register(usage)
    return usage, registry


def key(number: int) -> FrontendKey:
    return FrontendKey(f"10.96.0.{number}", "TCP", 80)


def node_port(number: int, address: str = "192.168.0.2") -> FrontendKey:
    return FrontendKey(address, "TCP", 30000 + number)


def connections(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value("fairway_service_new_connections_total", {"namespace": "shop", "service": name})


def flows(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value("fairway_service_active_flows", {"namespace": "shop", "service": name})


def test_connections_add_up_by_service_over_all_its_frontends() -> None:
    usage, registry = desk()
    usage.take(Sample({key(0): 5, node_port(0, "0.0.0.0"): 2}, {}))
    usage.take(Sample({key(0): 6, node_port(0, "0.0.0.0"): 2}, {}))
    assert connections(registry, "s0") == 8
    assert registry.get_sample_value("fairway_proxy_new_connections_total") == 8


def test_a_mode_may_count_node_ports_on_each_of_the_nodes_addresses() -> None:
    usage, registry = desk()
    usage.take(Sample({node_port(0): 2, node_port(0, "192.0.2.1"): 50}, {}))
    assert connections(registry, "s0") == 2


def test_a_counter_that_began_anew_is_not_a_loss() -> None:
    usage, registry = desk()
    usage.take(Sample({key(0): 100}, {}))
    usage.take(Sample({key(0): 3}, {}))
    usage.take(Sample({}, {}))
    usage.take(Sample({key(0): 1}, {}))
    assert connections(registry, "s0") == 104


def test_only_the_busiest_have_series_and_all_are_in_the_sum() -> None:
    usage, registry = desk(services=5, most=2)
    usage.take(Sample({key(number): number + 1 for number in range(5)}, {}))
    assert [connections(registry, f"s{number}") for number in range(5)] == [None, None, None, 4, 5]
    assert registry.get_sample_value("fairway_proxy_new_connections_total") == 15


def test_flows_are_those_of_now_and_node_ports_count_on_the_nodes_addresses() -> None:
    usage, registry = desk(most=5)
    usage.take(Sample({}, {key(0): 7, node_port(1): 2, node_port(1, "192.0.2.1"): 50, node_port(2, "127.0.0.1"): 9}))
    assert flows(registry, "s0") == 7
    assert flows(registry, "s1") == 2
    assert registry.get_sample_value("fairway_proxy_active_flows") == 9
    usage.take(Sample({}, {}))
    assert flows(registry, "s0") is None


def test_a_sample_asks_both_sources() -> None:
    usage, registry = desk(most=5)
    usage.take(usage.sample())
    assert connections(registry, "s0") == 5
    assert (flows(registry, "s0"), flows(registry, "s1")) == (2, 1)


def test_a_mode_that_does_not_count_tells_flows_only() -> None:
    usage, registry = desk(counts=False)
    usage.take(usage.sample())
    assert flows(registry, "s0") == 2
    assert registry.get_sample_value("fairway_proxy_new_connections_total") is None
