"""Unit tests of `fairway.objects.cluster`."""

from __future__ import annotations

from fairway.objects.cluster import ZONE_LABEL, Node, Pod, is_true
from fairway.objects.codec import view
from fairway.objects.meta import Condition


def test_a_node_knows_its_zone_readiness_and_internal_addresses() -> None:
    addresses = [
        ("InternalIP", "172.30.0.1"),
        ("Hostname", "node-1"),
        ("ExternalIP", "192.0.2.1"),
        ("InternalIP", "::2"),
    ]
    node = view(
        {
            "metadata": {"name": "node-1", "labels": {ZONE_LABEL: "zone-a"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
            "status": {
                "addresses": [{"type": type_, "address": address} for type_, address in addresses],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        },
        Node,
    )
    assert (node.zone, node.ready, node.internal_addresses) == ("zone-a", True, ("172.30.0.1", "::2"))
    assert (Node().zone, Node().ready, Node().internal_addresses) == ("", False, ())


def test_a_pod_has_all_its_addresses_or_its_one() -> None:
    assert view({"status": {"podIP": "10.0.0.1"}}, Pod).addresses == ("10.0.0.1",)
    both = {"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}
    assert view(both, Pod).addresses == ("10.0.0.1", "fd00::1")
    assert Pod().addresses == ()


def test_a_pod_terminates_when_it_has_a_deletion_time() -> None:
    assert view({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, Pod).terminating
    assert not Pod().terminating


def test_a_condition_counts_only_when_it_says_true() -> None:
    conditions = (Condition(type="Ready", status="Unknown"), Condition(type="Other", status="True"))
    assert not is_true(conditions, "Ready")
    assert is_true(conditions, "Other")
    assert not is_true(None, "Ready")


def test_probes_are_read_by_their_api_names() -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "web"}}
    pod = view({"spec": {"containers": [{"readinessProbe": probe, "livenessProbe": {"tcpSocket": {"port": 1}}}]}}, Pod)
    (container,) = pod.spec.containers or ()
    assert container.readiness_probe is not None
    assert container.readiness_probe.http_get is not None
    assert (container.readiness_probe.http_get.path, container.readiness_probe.http_get.port) == ("/healthz", "web")
    assert container.liveness_probe is not None
    assert container.liveness_probe.tcp_socket is not None
