"""Unit tests of `fairway.objects.service`."""

from __future__ import annotations

import pytest

from fairway.objects.codec import decode
from fairway.objects.service import Service, ServicePort, ServiceSpec


@pytest.mark.parametrize(
    "spec, addresses",
    [
        (ServiceSpec(cluster_ip="10.96.0.1"), ("10.96.0.1",)),
        (ServiceSpec(cluster_ip="10.96.0.1", cluster_ips=("10.96.0.1", "fd00::1")), ("10.96.0.1", "fd00::1")),
        (ServiceSpec(cluster_ip="None", cluster_ips=("None",)), ()),
        (ServiceSpec(cluster_ip=""), ()),
        (ServiceSpec(type="ExternalName", external_name="shop.example"), ()),
        (ServiceSpec(type="ExternalName", cluster_ip="10.96.0.1"), ()),
    ],
    ids=["single", "dual", "headless", "not allocated", "external name", "external name with a stale address"],
)
def test_addresses_are_the_cluster_ips(spec: ServiceSpec, addresses: tuple[str, ...]) -> None:
    assert Service(spec=spec).addresses == addresses


def test_headless_is_the_word_none() -> None:
    assert Service(spec=ServiceSpec(cluster_ip="None")).headless
    assert not Service(spec=ServiceSpec(cluster_ip="")).headless


@pytest.mark.parametrize(
    "spec, accessible",
    [
        (ServiceSpec(type="ClusterIP"), False),
        (ServiceSpec(type="ClusterIP", external_ips=("198.51.100.1",)), True),
        (ServiceSpec(type="NodePort"), True),
        (ServiceSpec(type="LoadBalancer"), True),
        (ServiceSpec(type="ExternalName", external_ips=("198.51.100.1",)), False),
    ],
)
def test_who_is_externally_accessible(spec: ServiceSpec, accessible: bool) -> None:
    assert Service(spec=spec).externally_accessible is accessible


def test_a_service_as_kubectl_shows_it_is_read_whole() -> None:
    service = decode(
        b"""{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","managedFields":[{}]},
        "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"ipFamilies":["IPv4"],
        "ports":[{"name":"http","port":80,"targetPort":"www","nodePort":30080,"appProtocol":null}],
        "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
        "loadBalancerSourceRanges":["10.0.0.0/8"],"externalTrafficPolicy":"Local","healthCheckNodePort":31000},
        "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1","ipMode":"VIP"},{"hostname":"a.example"}]}}}""",
        Service,
    )
    assert service.spec.ports == (ServicePort(name="http", port=80, target_port="www", node_port=30080),)
    assert service.spec.session_affinity_config is not None
    assert service.spec.session_affinity_config.client_ip is not None
    assert service.spec.session_affinity_config.client_ip.timeout_seconds == 60
    assert [one.ip_mode for one in service.status.load_balancer.ingress or ()] == ["VIP", None]
    assert service.spec.health_check_node_port == 31000


def test_a_value_of_a_later_kubernetes_survives() -> None:
    assert decode(b'{"spec":{"type":"Teleport","newField":{"a":1}}}', Service).spec.type == "Teleport"
