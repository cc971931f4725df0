"""Unit tests of `fairway.objects.meta`."""

from __future__ import annotations

import pytest

from fairway.objects.codec import document, view
from fairway.objects.meta import Key, KubernetesObject, ObjectMeta, OwnerReference, json_name


@pytest.mark.parametrize(
    "field, name",
    [
        ("name", "name"),
        ("cluster_ip", "clusterIP"),
        ("cluster_ips", "clusterIPs"),
        ("ip_families", "ipFamilies"),
        ("ip_family_policy", "ipFamilyPolicy"),
        ("external_ips", "externalIPs"),
        ("load_balancer_ip", "loadBalancerIP"),
        ("client_ip", "clientIP"),
        ("ip_mode", "ipMode"),
        ("pod_cidr", "podCIDR"),
        ("pod_cidrs", "podCIDRs"),
        ("host_ip", "hostIP"),
        ("pod_ips", "podIPs"),
        ("uid", "uid"),
        ("api_version", "apiVersion"),
        ("health_check_node_port", "healthCheckNodePort"),
        ("publish_not_ready_addresses", "publishNotReadyAddresses"),
        ("deletion_grace_period_seconds", "deletionGracePeriodSeconds"),
    ],
)
def test_a_field_has_the_name_that_kubernetes_gives_it(field: str, name: str) -> None:
    assert json_name(field) == name


def test_a_key_is_written_with_its_namespace_if_it_has_one() -> None:
    assert str(Key("shop", "cart")) == "shop/cart"
    assert str(Key("", "node-1")) == "node-1"
    assert ObjectMeta(namespace="shop", name="cart").key == Key("shop", "cart")


def test_a_label_or_annotation_that_is_not_there_has_a_default() -> None:
    meta = ObjectMeta(labels={"app": "web"}, annotations={"note": "x"})
    assert (meta.label("app"), meta.label("tier"), meta.label("tier", "db")) == ("web", "", "db")
    assert (meta.annotation("note"), meta.annotation("other")) == ("x", "")
    assert ObjectMeta().label("app") == ""


def test_the_controller_is_the_one_owner_that_says_so() -> None:
    owners = (OwnerReference(name="friend"), OwnerReference(name="boss", controller=True))
    assert ObjectMeta(owner_references=owners).controller() == owners[1]
    assert ObjectMeta(owner_references=owners[:1]).controller() is None
    assert ObjectMeta().controller() is None


def test_a_null_timestamp_is_no_timestamp() -> None:
    """Go writes ``creationTimestamp: null`` into every template."""
    assert view({"creationTimestamp": None, "name": "x"}, ObjectMeta) == ObjectMeta(name="x")
    assert document(view({"metadata": {"name": "x"}}, KubernetesObject)) == {"metadata": {"name": "x"}}
