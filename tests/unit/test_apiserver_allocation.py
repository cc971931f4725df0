"""Addresses, families and ports of Services through create, update and every change of type."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from fairway.apiserver import defaults
from fairway.apiserver.allocation import Ledger, Ranges, ServiceAllocator, claims_of
from fairway.apiserver.strategy import Exhausted, FieldErrors
from fairway.objects.codec import Document

SINGLE = Ranges.parse("10.96.0.0/24")
DUAL = Ranges.parse("10.96.0.0/24,fd00:10:96::/112")


def first(below: int) -> int:
    """No chance at all: always the beginning of the band."""
    return 0


class Cluster:
    """An allocator with its ledger, and the Services that were stored."""

    def __init__(self, ranges: Ranges = SINGLE, draw: Callable[[int], int] = first) -> None:
        self.ledger = Ledger()
        self.allocator = ServiceAllocator(ranges, draw)

    def store(self, new: Document, old: Document | None = None) -> Document:
        """The Service as it is stored; what was given as ``new`` stays as it was."""
        given = defaults.service(copy.deepcopy(new))
        found = self.allocator.allocate(old, given, self.ledger)
        self.ledger.claim(found.claims)
        self.ledger.release(found.releases)
        return found.document

    def refused(self, new: Document, old: Document | None = None) -> str:
        with pytest.raises(FieldErrors) as caught:
            self.store(new, old)
        return str(caught.value)


def service(*ports: Document, **spec: Any) -> Document:
    return {"metadata": {"name": "web"}, "spec": {"ports": list(ports) or [{"name": "http", "port": 80}], **spec}}


def changed(old: Document, **spec: Any) -> Document:
    """The stored Service with other fields, as a client sends it back; None takes a field away."""
    new = copy.deepcopy(old)
    new["spec"] |= spec
    new["spec"] = {field: value for field, value in new["spec"].items() if value is not None}
    return new


def node_ports(document: Document) -> list[int]:
    return [port.get("nodePort", 0) for port in document["spec"]["ports"]]


# ── addresses


@pytest.mark.reference("5.5 bands")
def test_a_service_gets_an_address_of_the_upper_band() -> None:
    stored = Cluster().store(service())
    assert stored["spec"]["clusterIP"] == "10.96.0.17"
    assert stored["spec"]["clusterIPs"] == ["10.96.0.17"]
    assert stored["spec"]["ipFamilies"] == ["IPv4"]
    assert stored["spec"]["ipFamilyPolicy"] == "SingleStack"


@pytest.mark.reference("5.5 bands")
def test_the_lower_band_is_given_away_when_the_upper_one_is_full() -> None:
    cluster = Cluster()
    cluster.ledger.claim(f"ip/10.96.0.{number}" for number in range(17, 255))
    assert cluster.store(service())["spec"]["clusterIP"] == "10.96.0.1"


@pytest.mark.reference("5.5 exhausted")
def test_a_full_range_says_so() -> None:
    cluster = Cluster()
    cluster.ledger.claim(f"ip/10.96.0.{number}" for number in range(1, 255))
    with pytest.raises(Exhausted, match=r"failed to allocate a serviceIP: range is full \(10\.96\.0\.0/24\)"):
        cluster.store(service())


@pytest.mark.reference("5.5 static")
def test_an_address_can_be_asked_for() -> None:
    stored = Cluster().store(service(clusterIP="10.96.0.3"))
    assert claims_of(stored) == {"ip/10.96.0.3"}
    assert stored["spec"]["clusterIPs"] == ["10.96.0.3"]


@pytest.mark.reference("5.5 static", "5.5 unique")
def test_an_address_that_is_taken_is_refused() -> None:
    cluster = Cluster()
    cluster.store(service(clusterIP="10.96.0.3"))
    assert cluster.refused(service(clusterIP="10.96.0.3")) == (
        'spec.clusterIPs: Invalid value: ["10.96.0.3"]: '
        "failed to allocate IP 10.96.0.3: provided IP is already allocated"
    )


@pytest.mark.parametrize("address", ["10.97.0.1", "10.96.0.0", "10.96.0.255"])
@pytest.mark.reference("5.5 range", "5.5 static")
def test_an_address_outside_the_usable_range_is_refused(address: str) -> None:
    assert Cluster().refused(service(clusterIP=address)) == (
        f'spec.clusterIPs: Invalid value: ["{address}"]: failed to allocate IP {address}: '
        f"the provided IP ({address}) is not in the valid range. The range of valid IPs is 10.96.0.0/24"
    )


@pytest.mark.reference("5.3 rollback")
def test_what_is_not_an_address_is_refused_before_anything_is_claimed() -> None:
    cluster = Cluster()
    assert 'spec.clusterIPs[0]: Invalid value: "10.96.0.300": must be a valid' in cluster.refused(
        service(clusterIP="10.96.0.300")
    )
    assert len(cluster.ledger) == 0


@pytest.mark.reference("5.7 external name", "5.5 transitions")
def test_a_headless_service_and_an_external_name_get_no_address() -> None:
    cluster = Cluster()
    cluster.store(service(clusterIP="None"))
    cluster.store(service(type="ExternalName", externalName="a.example"))
    assert len(cluster.ledger) == 0


@pytest.mark.reference("5.3 addresses")
def test_an_update_without_addresses_keeps_them() -> None:
    cluster = Cluster()
    old = cluster.store(service())
    assert cluster.store(service(selector={"app": "web"}), old)["spec"]["clusterIPs"] == ["10.96.0.17"]


@pytest.mark.reference("5.5 release", "5.5 transitions")
def test_external_name_gives_its_address_back_and_gets_one_again() -> None:
    cluster = Cluster()
    old = cluster.store(service())
    away = cluster.store(changed(old, type="ExternalName", externalName="a.example"), old)
    assert "clusterIP" not in away["spec"]
    assert "ipFamilies" not in away["spec"]
    assert len(cluster.ledger) == 0
    back = cluster.store(changed(away, type="ClusterIP"), away)
    assert claims_of(back) == {"ip/10.96.0.17"}
    assert len(cluster.ledger) == 1


# ── families


@pytest.mark.reference("5.4 rule 7")
def test_prefer_dual_stack_takes_what_the_cluster_has() -> None:
    wanted = service(ipFamilyPolicy="PreferDualStack")
    assert Cluster().store(wanted)["spec"]["ipFamilies"] == ["IPv4"]
    both = Cluster(DUAL).store(wanted)["spec"]
    assert both["ipFamilies"] == ["IPv4", "IPv6"]
    # a /112 keeps its first 256 addresses for those who ask for one
    assert both["clusterIPs"] == ["10.96.0.17", "fd00:10:96::101"]


@pytest.mark.reference("5.4 rule 7")
def test_require_dual_stack_needs_two_families() -> None:
    assert Cluster().refused(service(ipFamilyPolicy="RequireDualStack")) == (
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
    )


@pytest.mark.reference("5.4 rule 5", "5.4 rule 7")
def test_a_family_that_the_cluster_has_not_is_refused() -> None:
    assert Cluster().refused(service(ipFamilies=["IPv6"])) == (
        'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'
    )
    assert Cluster().refused(service(clusterIP="fd00::7")) == (
        'spec.clusterIPs[0]: Invalid value: ["fd00::7"]: IPv6 is not configured on this cluster'
    )


@pytest.mark.reference("5.4 rule 4")
def test_single_stack_with_two_families_is_refused() -> None:
    refused = Cluster(DUAL).refused(service(ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="SingleStack"))
    assert "must be RequireDualStack or PreferDualStack when multiple IP families are specified" in refused


@pytest.mark.reference("5.4 rule 5")
def test_the_family_of_an_address_asked_for_is_inferred() -> None:
    spec = Cluster(DUAL).store(service(clusterIP="fd00:10:96::7"))["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv6"], "SingleStack")


@pytest.mark.reference("5.4 rule 2", "5.4 rule 6")
def test_a_headless_service_without_selector_has_both_families_anywhere() -> None:
    spec = Cluster().store(service(clusterIP="None"))["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")


@pytest.mark.reference("5.4 rule 7")
def test_a_headless_service_with_selector_has_the_clusters_families() -> None:
    spec = Cluster().store(service(clusterIP="None", selector={"app": "web"}))["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


@pytest.mark.reference("5.4 rule 3", "5.5 transitions", "5.5 release")
def test_a_second_family_comes_and_goes() -> None:
    cluster = Cluster(DUAL)
    single = cluster.store(service())
    both = cluster.store(changed(single, ipFamilyPolicy="PreferDualStack"), single)
    assert both["spec"]["clusterIPs"] == ["10.96.0.17", "fd00:10:96::101"]
    again = cluster.store(changed(both, ipFamilyPolicy="SingleStack"), both)
    assert again["spec"]["clusterIPs"] == ["10.96.0.17"]
    assert again["spec"]["ipFamilies"] == ["IPv4"]
    assert "ip/fd00:10:96::101" not in cluster.ledger


@pytest.mark.reference("5.4 rule 3")
def test_a_reduced_list_needs_single_stack() -> None:
    cluster = Cluster(DUAL)
    both = cluster.store(service(ipFamilyPolicy="RequireDualStack"))
    assert cluster.refused(changed(both, ipFamilies=["IPv4"]), both) == (
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
        "must be 'SingleStack' to release the secondary IP family"
    )


@pytest.mark.reference("5.4 rule 1")
def test_prefer_dual_stack_is_left_alone_when_the_cluster_gains_a_family() -> None:
    old = Cluster().store(service(ipFamilyPolicy="PreferDualStack"))
    later = Cluster(DUAL)
    later.ledger.claim(claims_of(old))
    assert later.store(copy.deepcopy(old), old)["spec"]["clusterIPs"] == ["10.96.0.17"]


# ── node ports


@pytest.mark.reference("5.6 bands")
def test_ports_get_node_ports_of_the_upper_band() -> None:
    stored = Cluster().store(service({"name": "a", "port": 80}, {"name": "b", "port": 81}, type="NodePort"))
    assert node_ports(stored) == [30086, 30087]


@pytest.mark.reference("5.6 sharing")
def test_protocols_of_one_port_number_share_a_node_port() -> None:
    ports = ({"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"})
    assert node_ports(Cluster().store(service(*ports, type="NodePort"))) == [30086, 30086]


@pytest.mark.reference("5.6 sharing")
def test_a_shared_node_port_is_the_one_that_is_asked_for() -> None:
    ports = ({"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053})
    assert node_ports(Cluster().store(service(*ports, type="NodePort"))) == [30053, 30053]


@pytest.mark.reference("5.6 sharing", "5.6 refused")
def test_different_ports_cannot_ask_for_the_same_node_port() -> None:
    ports = (
        {"name": "a", "port": 1, "nodePort": 30001},
        {"name": "b", "port": 2, "protocol": "UDP", "nodePort": 30001},
    )
    assert Cluster().refused(service(*ports, type="NodePort")) == (
        "spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated"
    )


@pytest.mark.reference("5.6 blind")
def test_a_node_port_belongs_to_one_service_whatever_the_protocol() -> None:
    cluster = Cluster()
    cluster.store(service({"port": 80, "nodePort": 30001}, type="NodePort"))
    refused = cluster.refused(service({"port": 80, "protocol": "UDP", "nodePort": 30001}, type="NodePort"))
    assert refused == "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"


@pytest.mark.reference("5.6 refused")
def test_a_node_port_outside_the_range_is_refused() -> None:
    assert Cluster().refused(service({"port": 80, "nodePort": 80}, type="NodePort")) == (
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767"
    )


def test_no_port_is_chosen_that_the_request_names_itself() -> None:
    ports = ({"name": "a", "port": 1}, {"name": "b", "port": 2, "nodePort": 30086})
    assert node_ports(Cluster().store(service(*ports, type="NodePort"))) == [30087, 30086]


@pytest.mark.reference("5.6 refused")
def test_full_node_ports_say_so() -> None:
    cluster = Cluster(Ranges.parse("10.96.0.0/24", "30000-30000"))
    cluster.store(service(type="NodePort"))
    with pytest.raises(Exhausted, match=r"failed to allocate a nodePort: range is full \(30000-30000\)"):
        cluster.store(service(type="NodePort"))


@pytest.mark.reference("5.3 node ports")
def test_node_ports_are_kept_by_the_names_of_their_ports() -> None:
    cluster = Cluster()
    old = cluster.store(service({"name": "a", "port": 1}, {"name": "b", "port": 2}, type="NodePort"))
    new = service({"name": "b", "port": 3}, {"name": "c", "port": 4}, {"name": "a", "port": 1}, type="NodePort")
    assert node_ports(cluster.store(new, old)) == [30087, 30088, 30086]


@pytest.mark.reference("5.3 node ports", "5.6 update")
def test_a_node_port_that_moves_to_another_port_is_not_given_twice() -> None:
    cluster = Cluster()
    old = cluster.store(service({"name": "a", "port": 1}, type="NodePort"))
    new = service({"name": "a", "port": 1}, {"name": "b", "port": 2, "nodePort": 30086}, type="NodePort")
    assert node_ports(cluster.store(new, old)) == [30087, 30086]


@pytest.mark.reference("5.6 release", "5.3 drop")
def test_becoming_cluster_ip_gives_node_ports_back() -> None:
    cluster = Cluster()
    old = cluster.store(service(type="NodePort"))
    new = cluster.store(changed(old, type="ClusterIP"), old)
    assert node_ports(new) == [0]
    assert "externalTrafficPolicy" not in new["spec"]
    assert not cluster.ledger.port(30086)


@pytest.mark.reference("5.3 drop")
def test_node_ports_that_the_user_changes_with_the_type_are_left_for_validation() -> None:
    cluster = Cluster()
    old = cluster.store(service(type="NodePort"))
    new = changed(old, type="ClusterIP", ports=[{"name": "http", "port": 80, "nodePort": 30999}])
    assert node_ports(cluster.store(new, old)) == [30999]


@pytest.mark.reference("5.6 release")
def test_a_removed_port_gives_its_node_port_back() -> None:
    cluster = Cluster()
    old = cluster.store(service({"name": "a", "port": 1}, {"name": "b", "port": 2}, type="NodePort"))
    cluster.store(service({"name": "b", "port": 2}, type="NodePort"), old)
    assert not cluster.ledger.port(30086)
    assert cluster.ledger.port(30087)


# ── load balancers


@pytest.mark.reference("5.6 load balancer")
def test_a_load_balancer_may_do_without_node_ports() -> None:
    cluster = Cluster()
    ports = ({"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30001})
    stored = cluster.store(service(*ports, type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert node_ports(stored) == [0, 30001]


@pytest.mark.reference("5.6 load balancer")
def test_node_ports_stay_when_a_load_balancer_stops_asking_for_them() -> None:
    cluster = Cluster()
    old = cluster.store(service(type="LoadBalancer"))
    kept = cluster.store(changed(old, allocateLoadBalancerNodePorts=False), old)
    assert node_ports(kept) == [30086]
    gone = cluster.store(changed(kept, ports=[{"name": "http", "port": 80}]), kept)
    assert node_ports(gone) == [0]
    assert not cluster.ledger.port(30086)


@pytest.mark.reference("5.6 health check", "5.3 health check port")
def test_local_load_balancers_have_a_health_check_port() -> None:
    cluster = Cluster()
    old = cluster.store(service(type="LoadBalancer"))
    local = cluster.store(changed(old, externalTrafficPolicy="Local"), old)
    assert local["spec"]["healthCheckNodePort"] == 30087
    again = cluster.store(service(type="LoadBalancer", externalTrafficPolicy="Local"), local)
    assert again["spec"]["healthCheckNodePort"] == 30087
    anywhere = cluster.store(changed(again, externalTrafficPolicy="Cluster"), again)
    assert "healthCheckNodePort" not in anywhere["spec"]
    assert not cluster.ledger.port(30087)


@pytest.mark.reference("5.6 health check")
def test_a_health_check_port_can_be_asked_for_once() -> None:
    cluster = Cluster()
    wanted = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30500)
    assert cluster.store(wanted)["spec"]["healthCheckNodePort"] == 30500
    assert cluster.refused(wanted) == (
        "spec.healthCheckNodePort: Invalid value: 30500: "
        "failed to allocate requested HealthCheck NodePort 30500: provided port is already allocated"
    )


@pytest.mark.reference("5.3 drop")
def test_leaving_load_balancer_drops_what_only_it_has() -> None:
    cluster = Cluster()
    old = cluster.store(
        service(type="LoadBalancer", loadBalancerClass="a", externalTrafficPolicy="Local", selector={"app": "web"})
    )
    new = cluster.store(changed(old, type="ClusterIP"), old)["spec"]
    gone = {"loadBalancerClass", "allocateLoadBalancerNodePorts", "healthCheckNodePort", "externalTrafficPolicy"}
    assert gone.isdisjoint(new)
    assert new["selector"] == {"app": "web"}
    assert len(cluster.ledger) == 1


# ── clients that know only clusterIP, or only clusterIPs


@pytest.mark.reference("5.3 singular")
def test_a_client_that_clears_only_the_singular_clears_both() -> None:
    cluster = Cluster()
    old = cluster.store(service())
    new = changed(old, type="ExternalName", externalName="a.example", clusterIP=None)
    assert "clusterIPs" not in cluster.store(new, old)["spec"]


@pytest.mark.reference("5.3 singular")
def test_a_client_that_changes_only_the_singular_changes_both() -> None:
    cluster = Cluster()
    old = cluster.store(service())
    assert cluster.store(changed(old, clusterIP="10.96.0.9"), old)["spec"]["clusterIPs"] == ["10.96.0.9"]


@pytest.mark.parametrize(
    "cidrs, ports, words",
    [
        ("10.96.0.0", "30000-32767", "service CIDR '10.96.0.0': too small, the prefix may be /29 at most"),
        ("10.96.0.1/16", "30000-32767", "10.96.0.1/16 has host bits set; expected a network such as 10.96.0.0/16"),
        ("fd00::/48", "30000-32767", "too large, the prefix of IPv6 must be /64 or longer"),
        ("10.96.0.0/16,10.97.0.0/16", "30000-32767", "at most one of each IP family, got two of IPv4"),
        ("10.96.0.0/16", "30000", "expected FIRST-LAST within 1-65535, such as 30000-32767"),
        ("10.96.0.0/16", "32767-30000", "expected FIRST-LAST within 1-65535"),
        ("10.96.0.0/16", "0-70000", "expected FIRST-LAST within 1-65535"),
    ],
)
@pytest.mark.reference("5.5 range")
def test_a_wrong_range_says_what_would_be_right(cidrs: str, ports: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Ranges.parse(cidrs, ports)


@pytest.mark.parametrize(
    "cidr, reserved",
    [("/28", 0), ("/27", 16), ("/24", 16), ("/23", 32), ("/22", 64), ("/21", 128), ("/20", 256), ("/12", 256)],
)
@pytest.mark.reference("5.5 bands")
def test_the_lower_band_is_as_large_as_the_reference_says(cidr: str, reserved: int) -> None:
    assert Ranges.parse("10.96.0.0" + cidr).addresses["IPv4"][0].reserved == reserved


@pytest.mark.reference("5.6 bands")
def test_the_lower_band_of_node_ports() -> None:
    assert Ranges.parse().ports.bands == ((30086, 32767), (30000, 30085))


@pytest.mark.reference("5.5 default service")
def test_the_first_address_is_the_api_servers_own() -> None:
    assert Ranges.parse().first_address == "10.96.0.1"


def test_a_free_address_in_a_full_million_is_found_without_looking_at_each() -> None:
    ledger = Ledger()
    numbers = ledger._numbers["IPv4"]
    base = 0x0A600000
    for number in range(base, base + 2**20):
        numbers.add(number)
    numbers.discard(base + 1000)
    assert ledger.free("IPv4", base, base + 2**20 - 1, base + 5000) == base + 1000
    assert len(numbers._pages) == 1024


def test_what_is_promised_is_given_to_nobody_else_and_comes_free_again() -> None:
    ledger = Ledger(["port/30001"])
    with ledger.promised(["port/30000", "port/30001"]):
        assert ledger.free("port", 30000, 30002, 30000) == 30002
    assert ledger.free("port", 30000, 30002, 30000) == 30000
    assert ledger.port(30001)


def test_what_is_claimed_in_the_meantime_stays_claimed() -> None:
    ledger = Ledger()
    with ledger.promised(["port/30000", "port/30001"]):
        ledger.claim(["port/30000"])
    assert ledger.port(30000)
    assert not ledger.port(30001)
