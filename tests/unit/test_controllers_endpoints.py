"""Unit tests of `fairway.controllers.endpoints`: the reference's section 6.1, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.controllers.endpoints import address_types, find_endpoints, resolve_ports
from fairway.objects.cluster import Pod
from fairway.objects.endpointslice import Endpoint, EndpointPort
from fairway.objects.service import Service
from tests.unit.cluster_parts import node, nodes, pod, service


def endpoints(given: Service, *pods: Pod) -> list[Endpoint]:
    found = find_endpoints(given, pods, nodes())
    return [endpoint for wanted in found.groups.values() for endpoint in wanted.endpoints.values()]


@pytest.mark.parametrize(
    "ready, terminating, publish, expected",
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, True, False, (False, False, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
@pytest.mark.reference("6.1 conditions")
def test_conditions(ready: bool, terminating: bool, publish: bool, expected: tuple[bool, bool, bool]) -> None:
    meta = {"deletionTimestamp": "2026-01-02T03:05:00Z"} if terminating else {}
    one = endpoints(service(publishNotReadyAddresses=publish), pod("p", "10.0.0.1", ready=ready, meta=meta))[0]
    assert (one.conditions.ready, one.conditions.serving, one.conditions.terminating) == expected


@pytest.mark.parametrize(
    "left_out",
    [
        pod("p"),
        pod("p", "10.0.0.1", status={"phase": "Succeeded"}),
        pod("p", "10.0.0.1", status={"phase": "Failed"}),
        pod("p", "fd00::1"),
        pod("p", "10.0.0.999"),
    ],
    ids=["no address", "succeeded", "failed", "no address of the family", "what is no address"],
)
@pytest.mark.reference("6.1 pods")
def test_pods_that_cannot_answer_are_left_out(left_out: Pod) -> None:
    assert endpoints(service(), left_out) == []


@pytest.mark.reference("6.1 fields")
def test_an_endpoint_says_where_it_is_and_which_pod_it_is() -> None:
    one = endpoints(service(), pod("p", "10.0.0.1", node="n2", uid="u1"))[0]
    assert (one.addresses, one.node_name, one.zone, one.hostname) == (("10.0.0.1",), "n2", "b", None)
    assert one.target_ref is not None
    target = one.target_ref
    assert (target.kind, target.namespace, target.name, target.uid) == ("Pod", "shop", "p", "u1")


@pytest.mark.parametrize(
    "hostname, subdomain, expected",
    [("web-0", "web", "web-0"), ("web-0", "other", None), ("web-0", "", None), ("", "web", None)],
)
@pytest.mark.reference("6.1 hostname")
def test_a_hostname_only_in_the_governing_service(hostname: str, subdomain: str, expected: str | None) -> None:
    given = pod("p", "10.0.0.1", spec={"hostname": hostname, "subdomain": subdomain})
    assert endpoints(service(), given)[0].hostname == expected


@pytest.mark.reference("6.1 unknown node")
def test_a_pod_on_an_unknown_node_waits_for_the_node() -> None:
    lost = pod("p", "10.0.0.1", node="nowhere")
    found = find_endpoints(service(), [lost], nodes())
    assert not found.groups
    assert found.unknown_nodes == {"nowhere"}
    found = find_endpoints(service(publishNotReadyAddresses=True), [lost], nodes())
    assert len(found.groups) == 1
    assert not found.unknown_nodes


@pytest.mark.parametrize(
    "spec, expected",
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, ("IPv4", "IPv6")),
        ({"ipFamilies": None, "clusterIP": "10.96.0.1"}, ("IPv4",)),
        ({"ipFamilies": None, "clusterIP": "fd00::1"}, ("IPv6",)),
        ({"ipFamilies": None, "clusterIP": "None"}, ("IPv4", "IPv6")),
    ],
)
@pytest.mark.reference("6.1 families")
def test_address_types(spec: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert address_types(service(**spec)) == expected


@pytest.mark.reference("6.1 canonical")
def test_addresses_are_canonical() -> None:
    given = pod("p", "FD00:0:0::1")
    assert endpoints(service(ipFamilies=["IPv6"]), given)[0].addresses == ("fd00::1",)


WEB_PORTS = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
DNS_PORTS = {
    "containers": [
        {"name": "a", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
        {"name": "b", "ports": [{"name": "dns", "containerPort": 5353, "protocol": "TCP"}]},
    ]
}
SIDECAR = {
    "initContainers": [
        {"name": "once", "ports": [{"name": "admin", "containerPort": 1}]},
        {"name": "stays", "restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 9901}]},
    ]
}


@pytest.mark.parametrize(
    "port, spec, expected",
    [
        ({"port": 80}, {}, 80),
        ({"port": 80, "targetPort": 8000}, {}, 8000),
        ({"port": 80, "targetPort": "http"}, WEB_PORTS, 8080),
        ({"port": 80, "targetPort": "https"}, WEB_PORTS, None),
        ({"port": 53, "targetPort": "dns", "protocol": "UDP"}, DNS_PORTS, 53),
        ({"port": 53, "targetPort": "dns", "protocol": "TCP"}, DNS_PORTS, 5353),
        ({"port": 80, "targetPort": "admin"}, SIDECAR, 9901),
    ],
    ids=["its own", "a number", "a name", "no such name", "name and UDP", "name and TCP", "a sidecar's"],
)
@pytest.mark.reference("6.1 ports")
def test_target_ports(port: dict[str, Any], spec: dict[str, Any], expected: int | None) -> None:
    ports = resolve_ports(service(port), pod("p", "10.0.0.1", spec=spec))
    assert [one.port for one in ports] == ([] if expected is None else [expected])


@pytest.mark.reference("6.1 ports")
def test_a_port_keeps_its_name_protocol_and_application_protocol() -> None:
    given = service({"name": "g", "port": 9, "protocol": "UDP", "appProtocol": "kubernetes.io/h2c"})
    assert resolve_ports(given, pod("p", "10.0.0.1")) == (
        EndpointPort(name="g", protocol="UDP", port=9, app_protocol="kubernetes.io/h2c"),
    )


@pytest.mark.reference("6.1 ports", "6.1 port groups")
def test_pods_with_different_numbers_for_one_name_are_in_different_groups() -> None:
    old = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]}
    given = service({"port": 80, "targetPort": "http"})
    pods = [pod("a", "10.0.0.1", spec=old), pod("b", "10.0.0.2", spec=WEB_PORTS), pod("c", "10.0.0.3", spec=WEB_PORTS)]
    groups = find_endpoints(given, pods, nodes()).groups
    found = {tuple(port.port for port in wanted.ports): len(wanted.endpoints) for wanted in groups.values()}
    assert found == {(80,): 1, (8080,): 2}


@pytest.mark.parametrize(
    "distribution, annotation, expected",
    [
        (None, "", None),
        ("Unheard", "", None),
        ("PreferClose", "", (("a",), ())),
        ("PreferSameZone", "", (("a",), ())),
        ("PreferSameNode", "", (("a",), ("n1",))),
        ("PreferClose", "Auto", None),
        ("PreferClose", "Disabled", (("a",), ())),
    ],
)
@pytest.mark.reference("6.2 traffic distribution")
def test_hints(distribution: str | None, annotation: str, expected: Any) -> None:
    meta = {"annotations": {"service.kubernetes.io/topology-mode": annotation}} if annotation else {}
    given = service(meta=meta, **({"trafficDistribution": distribution} if distribution else {}))
    hints = endpoints(given, pod("p", "10.0.0.1"))[0].hints
    found = hints and (
        tuple(zone.name for zone in hints.for_zones or ()),
        tuple(one.name for one in hints.for_nodes or ()),
    )
    assert found == expected


@pytest.mark.reference("6.2 traffic distribution")
def test_no_zone_no_hint_and_no_hint_for_an_endpoint_that_is_not_ready() -> None:
    given = service(trafficDistribution="PreferClose")
    assert endpoints(given, pod("p", "10.0.0.1", ready=False))[0].hints is None
    found = find_endpoints(given, [pod("p", "10.0.0.1")], nodes(node("n1")))
    assert [e.hints for w in found.groups.values() for e in w.endpoints.values()] == [None]
