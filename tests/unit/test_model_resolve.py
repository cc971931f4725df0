"""Unit tests of `fairway.model.resolve`, after the reference's sections 1.A to 1.H and 7.2."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fairway.model.resolve import resolve, resolve_service
from fairway.model.view import ActionKind, Client, Frontend, FrontendKey, FrontendKind, NodeSettings, Pool
from fairway.objects.codec import view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.service import Service

NODE = NodeSettings(
    name="node-1",
    zone="zone-a",
    addresses=("192.168.0.2", "127.0.0.1", "2001:db8::1"),
    pod_networks=("10.0.0.0/8", "fd00:10::/64"),
    service_networks=("172.30.0.0/16",),
)
HTTP = {"name": "http", "port": 80}
ONE, TWO = "10.180.0.1", "10.180.0.2"


def service(ports: list[dict[str, Any]] | None = None, name: str = "web", **spec: Any) -> Service:
    metadata = {"name": name, "namespace": "shop", "labels": spec.pop("labels", None)}
    status = {"loadBalancer": {"ingress": spec.pop("ingress", None)}}
    whole = {"clusterIP": "172.30.0.41", "ports": ports or [HTTP], **spec}
    return view({"metadata": metadata, "spec": whole, "status": status}, Service)


def slice_(
    *endpoints: dict[str, Any] | str,
    name: str = "web-a",
    ports: list[dict[str, Any]] | None = None,
    labels: dict[str, str] | None = None,
    family: str = "IPv4",
) -> EndpointSlice:
    found = [{"addresses": [one]} if isinstance(one, str) else one for one in endpoints]
    labels = {"kubernetes.io/service-name": "web", **(labels or {})}
    ports = [{"name": "http", "port": 8080}] if ports is None else ports
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    document = {"metadata": metadata, "addressType": family, "endpoints": found, "ports": ports}
    return view(document, EndpointSlice)


def at(address: str, node: str = "", **more: Any) -> dict[str, Any]:
    conditions = {key: more.pop(key) for key in ("ready", "serving", "terminating") if key in more}
    return {"addresses": [address], "nodeName": node or None, "conditions": conditions, **more}


def resolved(one: Service, *slices: EndpointSlice, settings: NodeSettings = NODE) -> dict[FrontendKey, Frontend]:
    return {found.key: found for found in resolve_service(one, slices, settings)}


def only(one: Service, *slices: EndpointSlice, settings: NodeSettings = NODE, kind: str = "cluster IP") -> Frontend:
    (found,) = (f for f in resolve_service(one, slices, settings) if f.kind == kind)
    return found


def backends(frontend: Frontend) -> list[str]:
    return [str(one) for one in frontend.cluster]


# 1.A: which objects count


@pytest.mark.reference("7.4 TestServiceToServiceMap")
@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": ""},
        {"type": "ExternalName", "externalName": "a.example"},
        {"labels": {"service.kubernetes.io/service-proxy-name": "other"}},
        {"labels": {"service.kubernetes.io/service-proxy-name": ""}},
        {"clusterIP": "not-an-address", "type": "NodePort"},
    ],
    ids=["headless", "no address yet", "external name", "another proxy's", "another proxy's, unnamed", "bad address"],
)
def test_a_service_that_is_not_ours_has_no_frontend(spec: dict[str, Any]) -> None:
    assert resolved(service(**spec), slice_(ONE)) == {}


@pytest.mark.parametrize(
    "ignored",
    [
        slice_(TWO, name="b", labels={"service.kubernetes.io/headless": ""}),
        slice_(TWO, name="b", labels={"kubernetes.io/service-name": ""}),
        slice_("fd00:10::2", name="b", family="IPv6"),
        slice_("a.example", name="b", family="FQDN"),
        slice_(TWO, name="b", ports=[]),
        slice_(TWO, name="b", ports=[{"port": 8080}]),
        slice_(TWO, name="b", ports=[{"name": "http"}]),
        slice_(TWO, name="b", ports=[{"name": "http", "port": 0}]),
        slice_(TWO, name="b", ports=[{"name": "other", "port": 8080}]),
        slice_(TWO, name="b", ports=[{"name": "http", "protocol": "UDP", "port": 8080}]),
        slice_({"addresses": []}, name="b"),
        slice_("nonsense", name="b"),
        slice_("2001:db8::9", name="b"),
        slice_("10.0.0.1%x", name="b"),
    ],
    ids=[
        "headless label",
        "no Service",
        "other family",
        "FQDN",
        "no ports",
        "port without name",
        "port without number",
        "port 0",
        "other port name",
        "other protocol",
        "endpoint without address",
        "no address",
        "address of the other family",
        "address with a zone",
    ],
)
def test_a_slice_or_endpoint_that_does_not_count(ignored: EndpointSlice) -> None:
    assert backends(only(service(), slice_(ONE), ignored)) == [f"{ONE}:8080"]


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    assert backends(only(service(), slice_({"addresses": [ONE, TWO]}))) == [f"{ONE}:8080"]


def test_backends_are_sorted_by_address_as_text() -> None:
    slices = slice_("10.0.0.9", "10.0.0.10", "10.0.0.1")
    assert backends(only(service(), slices)) == ["10.0.0.1:8080", "10.0.0.10:8080", "10.0.0.9:8080"]


def test_a_backend_remembers_where_it_came_from() -> None:
    target = {"kind": "Pod", "namespace": "shop", "name": "web-1"}
    (backend,) = only(service(), slice_(at(ONE, "node-1", targetRef=target))).cluster
    assert (backend.slice, backend.node, backend.local, backend.target) == ("web-a", "node-1", True, "Pod shop/web-1")


def test_an_endpoint_without_a_node_is_not_local_even_to_a_node_without_a_name() -> None:
    (backend,) = only(service(), slice_(ONE), settings=NodeSettings(name="")).cluster
    assert not backend.local


@pytest.mark.parametrize("running_first", [True, False])
def test_a_running_pod_beats_a_terminating_one_with_its_address(running_first: bool) -> None:
    running = slice_(at(ONE, "node-1", ready=True), name="b" if running_first else "c")
    leaving = slice_(at(ONE, "node-2", ready=False, serving=True, terminating=True), name="c" if running_first else "b")
    (backend,) = only(service(), leaving, running).cluster
    assert backend.node == "node-1"


def test_a_pod_that_is_not_ready_yet_still_replaces_a_terminating_one_that_was_published_as_ready() -> None:
    waiting = slice_(at(ONE, "node-1", ready=False, serving=False, terminating=False), name="a")
    leaving = slice_(at(ONE, "node-2", ready=True, serving=True, terminating=True), name="z")
    assert only(service(), waiting, leaving).cluster == ()


def test_an_address_on_two_ports_is_two_backends() -> None:
    slices = (slice_(ONE), slice_(ONE, name="web-b", ports=[{"name": "http", "port": 9090}]))
    assert backends(only(service(), *slices)) == [f"{ONE}:8080", f"{ONE}:9090"]


def test_ports_match_by_name_and_protocol() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]
    there = [{"name": "dns", "protocol": "UDP", "port": 5353}, {"name": "dns-tcp", "port": 5354}]
    found = resolved(service(ports), slice_(ONE, ports=there))
    assert backends(found[FrontendKey("172.30.0.41", "UDP", 53)]) == [f"{ONE}:5353"]
    assert backends(found[FrontendKey("172.30.0.41", "TCP", 53)]) == [f"{ONE}:5354"]


def test_an_unnamed_port_matches_an_unnamed_port() -> None:
    found = only(service([{"port": 80}]), slice_(ONE, ports=[{"name": "", "port": 8080}]))
    assert (backends(found), found.port_name) == ([f"{ONE}:8080"], "")


def test_a_protocol_that_nobody_knows_has_no_frontend() -> None:
    found = resolved(service([{"name": "x", "port": 80, "protocol": "QUIC"}, HTTP]))
    assert {one.protocol for one in found.values()} == {"TCP", ""}


# Families


@pytest.mark.reference("7.4 TestServiceToServiceMap")
def test_each_family_has_frontends_of_its_own() -> None:
    dual = service(
        [{"name": "http", "port": 80, "nodePort": 30080}],
        type="LoadBalancer",
        clusterIPs=["172.30.0.41", "fd00:30::41"],
        externalIPs=["198.51.100.1", "2001:db8:e::1"],
        ingress=[{"ip": "203.0.113.1"}, {"ip": "2001:db8:b::1"}],
    )
    found = resolved(dual, slice_(ONE), slice_("fd00:10::1", name="b", family="IPv6"))
    four = [key.address for key, one in found.items() if one.family == "IPv4" and key.port]
    six = [key.address for key, one in found.items() if one.family == "IPv6" and key.port]
    assert sorted(four) == ["0.0.0.0", "172.30.0.41", "198.51.100.1", "203.0.113.1"]
    assert sorted(six) == ["2001:db8:b::1", "2001:db8:e::1", "::", "fd00:30::41"]
    for key, one in found.items():
        if key.port:
            assert backends(one) == ([f"{ONE}:8080"] if one.family == "IPv4" else ["[fd00:10::1]:8080"])


def test_a_single_stack_service_ignores_addresses_of_the_other_family() -> None:
    found = resolved(service(externalIPs=["2001:db8:e::1"]), slice_(ONE))
    assert {key.address for key in found} == {"172.30.0.41"}


def test_bad_addresses_are_made_canonical_or_left_out() -> None:
    """The reference's TestBadIPs."""
    bad = service(
        type="LoadBalancer",
        clusterIP="172.30.000.041",
        clusterIPs=["172.30.000.041"],
        externalIPs=["192.168.099.022", "nonsense"],
        ingress=[{"ip": "001.002.003.004"}, {"hostname": "a.example"}],
        loadBalancerSourceRanges=["203.0.113.000/025", " 10.0.0.0/8 "],
    )
    found = resolved(bad, slice_("10.180.000.001"))
    assert {key.address for key in found} == {"172.30.0.41", "192.168.99.22", "1.2.3.4"}
    assert found[FrontendKey("1.2.3.4", "TCP", 80)].source_ranges == ("203.0.113.0/25", "10.0.0.0/8")
    assert backends(found[FrontendKey("1.2.3.4", "TCP", 80)]) == [f"{ONE}:8080"]


# Frontends


@pytest.mark.reference("7.4 TestServiceToServiceMap")
def test_a_frontend_is_caused_by_a_field() -> None:
    one = service(
        [HTTP, {"name": "admin", "port": 81, "nodePort": 30081}],
        type="LoadBalancer",
        externalIPs=["198.51.100.1"],
        ingress=[{"ip": "203.0.113.1"}],
    )
    fields = {f"{found.kind} {found.port}": found.field for found in resolve_service(one, (), NODE)}
    assert fields == {
        "cluster IP 80": "spec.ports[0]",
        "cluster IP 81": "spec.ports[1]",
        "node port 30081": "spec.ports[1].nodePort",
        "load balancer 80": "status.loadBalancer.ingress[0]",
        "load balancer 81": "status.loadBalancer.ingress[0]",
        "external IP 80": "spec.externalIPs[0]",
        "external IP 81": "spec.externalIPs[0]",
        "other ports 0": "spec.clusterIPs",
    }


@pytest.mark.reference("7.4 TestServiceToServiceMap")
@pytest.mark.parametrize("mode, frontends", [("Proxy", 0), ("VIP", 1), (None, 1)])
def test_a_balancer_in_proxy_mode_sees_its_traffic_itself(mode: str | None, frontends: int) -> None:
    """The reference's TestLoadBalancerIngressRouteTypeProxy."""
    found = resolve_service(service(type="LoadBalancer", ingress=[{"ip": "1.2.3.4", "ipMode": mode}]), (), NODE)
    assert sum(one.kind is FrontendKind.LOAD_BALANCER for one in found) == frontends


def test_a_stale_balancer_status_means_nothing_for_another_type() -> None:
    assert {one.kind for one in resolve_service(service(ingress=[{"ip": "1.2.3.4"}]), (), NODE)} == {
        FrontendKind.CLUSTER_IP,
        FrontendKind.OTHER_PORTS,
    }


def test_an_address_that_is_an_external_ip_and_a_balancers_keeps_the_source_ranges() -> None:
    both = service(
        type="LoadBalancer",
        externalIPs=["203.0.113.1", "203.0.113.1"],
        ingress=[{"ip": "203.0.113.1"}],
        loadBalancerSourceRanges=["198.51.100.0/24"],
    )
    (found,) = (one for one in resolve_service(both, (), NODE) if one.address == "203.0.113.1")
    assert (found.kind, found.source_ranges) == (FrontendKind.LOAD_BALANCER, ("198.51.100.0/24",))


def test_every_cluster_ip_refuses_the_ports_it_does_not_have() -> None:
    other = resolved(service(), slice_(ONE))[FrontendKey("172.30.0.41", "", 0)]
    assert {other.action(client).kind for client in Client} == {ActionKind.REJECT}
    assert other.pod.because == "the Service has no such port"


def test_two_services_that_claim_one_frontend_the_first_by_name_has_it() -> None:
    later = service(name="web", externalIPs=["198.51.100.1"])
    first = service(name="api", clusterIP="172.30.0.42", externalIPs=["198.51.100.1"])
    for order in ([later, first], [first, later]):
        found = resolve(order, {}, NODE).frontends
        assert found[FrontendKey("198.51.100.1", "TCP", 80)].service == Key("shop", "api")
        assert found[FrontendKey("172.30.0.41", "TCP", 80)].service == Key("shop", "web")


# Session affinity and source ranges


@pytest.mark.parametrize(
    "spec, seconds",
    [
        ({}, 0),
        ({"sessionAffinity": "None"}, 0),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, 5),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, 0),
    ],
)
def test_session_affinity(spec: dict[str, Any], seconds: int) -> None:
    assert only(service(**spec)).affinity_seconds == seconds


@pytest.mark.reference("7.2 TestLoadBalancer: same node SNATted to LB1/LB2 (implicitly allowed)")
@pytest.mark.parametrize(
    "ranges, kept",
    [
        (None, ()),
        (["203.0.113.0/25"], ("203.0.113.0/25",)),
        (["203.0.113.0/25", "2001:db8::/32"], ("203.0.113.0/25",)),
        (["2001:db8::/32"], ()),
        (["203.0.113.0/25", "0.0.0.0/0"], ()),
        (["203.0.113.0/25", "::/0"], ("203.0.113.0/25",)),
        (["192.168.0.0/24"], ("192.168.0.0/24", "1.2.3.4/32")),
        (["127.0.0.0/8"], ("127.0.0.0/8", "1.2.3.4/32")),
    ],
    ids=[
        "none",
        "one",
        "of this family only",
        "only of the other family: open",
        "length 0 opens it",
        "length 0 of the other family does not",
        "the node may, so what carries the balancer's address may",
        "loopback is the node, too",
    ],
)
def test_source_ranges(ranges: list[str] | None, kept: tuple[str, ...]) -> None:
    one = service(
        [{"name": "http", "port": 80, "nodePort": 30080}],
        type="LoadBalancer",
        ingress=[{"ip": "1.2.3.4"}],
        externalIPs=["198.51.100.1"],
        loadBalancerSourceRanges=ranges,
    )
    found = resolved(one)
    assert found[FrontendKey("1.2.3.4", "TCP", 80)].source_ranges == kept
    for key, frontend in found.items():
        assert key.address == "1.2.3.4" or not frontend.source_ranges


# 1.C to 1.E: who gets which pool, and with whose address

LOCAL_ONE, REMOTE_TWO = at(ONE, "node-1"), at(TWO, "node-2")
DEAF = NodeSettings(name="node-1", addresses=NODE.addresses)
ALL = NodeSettings(name="node-1", addresses=NODE.addresses, pod_networks=NODE.pod_networks, masquerade_all=True)
ALL_DEAF = NodeSettings(name="node-1", addresses=NODE.addresses, masquerade_all=True)

# What pods, the node and outsiders get: a pool, * behind it when masqueraded; reject; drop.
CLUSTER_IP_ROWS = [
    ("Cluster", NODE, "cluster cluster* cluster*"),
    ("Local", NODE, "local local* local*"),
    (None, NODE, "cluster cluster* cluster*"),
    ("Cluster", DEAF, "cluster cluster cluster"),
    ("Local", DEAF, "local local local"),
    ("Cluster", ALL, "cluster* cluster* cluster*"),
    ("Local", ALL, "local* local* local*"),
    ("Cluster", ALL_DEAF, "cluster* cluster* cluster*"),
]
EXTERNAL_ROWS = [
    ("Cluster", NODE, "cluster* cluster* cluster*"),
    ("Local", NODE, "cluster cluster* local"),
    ("", NODE, "cluster* cluster* cluster*"),
    ("Cluster", DEAF, "cluster* cluster* cluster*"),
    ("Local", DEAF, "local cluster* local"),
    ("Local", ALL, "cluster cluster* local"),
]


def rows(frontend: Frontend) -> str:
    words = []
    for client in (Client.POD, Client.NODE, Client.OUTSIDE):
        action = frontend.action(client)
        kind = action.pool.value if action.kind is ActionKind.FORWARD else action.kind.value
        words.append(kind + ("*" if action.masquerade else ""))
    return " ".join(words)


@pytest.mark.parametrize("policy, settings, expected", CLUSTER_IP_ROWS)
@pytest.mark.parametrize("external", ["Cluster", "Local"])
def test_who_gets_what_at_a_cluster_ip(
    policy: str | None, settings: NodeSettings, expected: str, external: str
) -> None:
    """TestInternalExternalMasquerade; the external policy changes nothing here."""
    port = [{"name": "http", "port": 80, "nodePort": 30080}]
    one = service(port, type="NodePort", internalTrafficPolicy=policy, externalTrafficPolicy=external)
    assert rows(only(one, slice_(LOCAL_ONE, REMOTE_TWO), settings=settings)) == expected


@pytest.mark.parametrize("policy, settings, expected", EXTERNAL_ROWS)
@pytest.mark.parametrize("internal", ["Cluster", "Local"])
@pytest.mark.parametrize("kind", ["node port", "external IP", "load balancer"])
def test_who_gets_what_from_outside(
    policy: str, settings: NodeSettings, expected: str, internal: str, kind: str
) -> None:
    """TestInternalExternalMasquerade, TestExternalTrafficPolicyLocal, …Cluster; the internal policy changes nothing."""
    one = service(
        [{"name": "http", "port": 80, "nodePort": 30080}],
        type="LoadBalancer",
        externalIPs=["198.51.100.1"],
        ingress=[{"ip": "203.0.113.1"}],
        internalTrafficPolicy=internal,
        externalTrafficPolicy=policy,
    )
    found = only(one, slice_(LOCAL_ONE, REMOTE_TWO), settings=settings, kind=kind)
    assert rows(found) == expected
    assert backends(found) == ([f"{ONE}:8080", f"{TWO}:8080"] if "cluster" in expected else [])
    assert [str(one) for one in found.local] == ([f"{ONE}:8080"] if "local" in expected else [])


READY_HERE, READY_THERE = at(ONE, "node-1", ready=True), at(TWO, "node-2", ready=True)
GOING_HERE = at(ONE, "node-1", ready=False, serving=True, terminating=True)
GOING_THERE = at(TWO, "node-2", ready=False, serving=True, terminating=True)
LOST_HERE = at(ONE, "node-1", ready=False, serving=False, terminating=True)
WAITING = at(ONE, "node-1", ready=False, serving=True, terminating=False)


@pytest.mark.parametrize(
    "endpoints, internal, external, at_cluster_ip, at_node_port",
    [
        ([], "Cluster", "Cluster", "reject reject reject", "reject reject reject"),
        ([], "Local", "Local", "reject reject reject", "reject reject reject"),
        ([WAITING], "Local", "Local", "reject reject reject", "reject reject reject"),
        ([LOST_HERE], "Cluster", "Local", "reject reject reject", "reject reject reject"),
        ([READY_THERE], "Local", "Cluster", "drop drop drop", "cluster* cluster* cluster*"),
        ([READY_THERE], "Cluster", "Local", "cluster cluster* cluster*", "cluster cluster* drop"),
        ([READY_THERE], "Local", "Local", "drop drop drop", "cluster cluster* drop"),
        ([GOING_THERE], "Local", "Local", "drop drop drop", "cluster cluster* drop"),
        ([GOING_HERE], "Local", "Local", "local local* local*", "cluster cluster* local"),
        ([GOING_HERE, READY_THERE], "Cluster", "Local", "cluster cluster* cluster*", "cluster cluster* local"),
        ([LOST_HERE, READY_THERE], "Local", "Local", "drop drop drop", "cluster cluster* drop"),
    ],
)
def test_what_emptiness_means(
    endpoints: list[dict[str, Any]], internal: str, external: str, at_cluster_ip: str, at_node_port: str
) -> None:
    """TestInternalTrafficPolicy, TestTerminatingEndpointsTrafficPolicy*, TestNoEndpointsReject."""
    port = [{"name": "http", "port": 80, "nodePort": 30080}]
    one = service(port, type="NodePort", internalTrafficPolicy=internal, externalTrafficPolicy=external)
    slices = slice_(*endpoints)
    assert rows(only(one, slices)) == at_cluster_ip
    assert rows(only(one, slices, kind="node port")) == at_node_port


def test_an_external_policy_without_external_clients_means_nothing() -> None:
    found = only(service(externalTrafficPolicy="Local"), slice_(LOCAL_ONE, REMOTE_TWO))
    assert rows(found) == "cluster cluster* cluster*"
    assert found.local == ()


def test_pools_that_no_client_uses_are_left_out() -> None:
    found = only(service(internalTrafficPolicy="Local"), slice_(LOCAL_ONE, REMOTE_TWO))
    assert (found.cluster, [one.address for one in found.local]) == ((), [ONE])
    assert {found.action(client).pool for client in Client} == {Pool.LOCAL}


def test_external_ips_take_no_traffic_where_the_gate_is_closed() -> None:
    closed = replace(NODE, external_ips=False)
    one = service(externalIPs=["198.51.100.1"], externalTrafficPolicy="Local")
    assert {key.address for key in resolved(one, slice_(ONE), settings=closed)} == {"172.30.0.41"}
    assert {key.address for key in resolved(one, slice_(ONE))} == {"172.30.0.41", "198.51.100.1"}


def test_a_load_balancers_address_answers_pings_unless_source_ranges_restrict_it() -> None:
    answering = replace(NODE, answers_ping=("192.168.0.2",))
    fields: dict[str, Any] = {
        "type": "LoadBalancer",
        "ingress": [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}],
    }
    found = resolved(service(**fields), slice_(ONE), settings=answering)
    assert [key.address for key, one in found.items() if one.kind is FrontendKind.PING] == ["203.0.113.1"]
    guarded = resolved(service(loadBalancerSourceRanges=["10.0.0.0/8"], **fields), settings=answering)
    assert FrontendKind.PING not in {one.kind for one in guarded.values()}
    assert FrontendKind.PING not in {one.kind for one in resolved(service(**fields)).values()}
