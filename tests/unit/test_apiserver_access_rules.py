"""Unit tests of `fairway.apiserver.access.rules`: what rules, roles and bindings allow, and to whom."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.apiserver.access.rules import Attributes, Binding, Policy, Role, Rule, refusal

READ = ["get", "list", "watch"]
PODS = {"verbs": READ, "apiGroups": [""], "resources": ["pods"]}
SCALE = {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*/scale"]}
NAMED = {"verbs": ["get", "update"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["settings"]}
PATHS = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/openapi/*"]}


@pytest.mark.parametrize(
    "rule, asked, allowed",
    [
        (PODS, Attributes("list", "", "pods"), True),
        (PODS, Attributes("list", "", "pods", namespace="shop", name="cart"), True),
        (PODS, Attributes("delete", "", "pods"), False),
        (PODS, Attributes("list", "apps", "pods"), False),
        (PODS, Attributes("list", "", "services"), False),
        (PODS, Attributes("get", "", "pods", "status"), False),
        (PODS, Attributes("get", path="/pods"), False),
        ({**PODS, "resources": ["pods/status"]}, Attributes("get", "", "pods", "status"), True),
        ({**PODS, "resources": ["pods/status"]}, Attributes("get", "", "pods"), False),
        ({**PODS, "resources": ["*"]}, Attributes("get", "", "pods", "status"), True),
        ({**PODS, "apiGroups": ["*"]}, Attributes("get", "apps", "pods"), True),
        ({**PODS, "apiGroups": None}, Attributes("get", "", "pods"), False),
        (SCALE, Attributes("update", "apps", "deployments", "scale"), True),
        (SCALE, Attributes("update", "apps", "deployments"), False),
        (SCALE, Attributes("update", "apps", "deployments", "status"), False),
        (NAMED, Attributes("get", "", "configmaps", name="settings"), True),
        (NAMED, Attributes("get", "", "configmaps", name="others"), False),
        (NAMED, Attributes("get", "", "configmaps"), False),
        (PATHS, Attributes("get", path="/healthz"), True),
        (PATHS, Attributes("get", path="/healthz/more"), False),
        (PATHS, Attributes("get", path="/openapi/v3"), True),
        (PATHS, Attributes("post", path="/healthz"), False),
        (PATHS, Attributes("get", "", "healthz"), False),
    ],
)
def test_a_rule_allows_what_it_says_and_nothing_else(rule: dict[str, Any], asked: Attributes, allowed: bool) -> None:
    assert msgspec.convert(rule, Rule).allows(asked) is allowed


def role(name: str, namespace: str = "", *, rules: list[dict[str, Any]]) -> Role:
    return msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "rules": rules}, Role)


def binding(reference: str, subject: tuple[str, str, str], namespace: str = "") -> Binding:
    """``reference`` is Kind/name, ``subject`` its kind, name and namespace."""
    kind, _, name = reference.partition("/")
    return msgspec.convert(
        {
            "metadata": {"name": "bound", "namespace": namespace},
            "roleRef": {"kind": kind, "name": name},
            "subjects": [dict(zip(("kind", "name", "namespace"), subject, strict=True))],
        },
        Binding,
    )


ROLES = [role("reader", rules=[PODS]), role("reader", "shop", rules=[NAMED])]
ANN, STAFF, BOT = ("User", "ann", ""), ("Group", "staff", ""), ("ServiceAccount", "bot", "shop")
IN_SHOP, IN_TOWN = Attributes("get", "", "pods", "", "shop"), Attributes("get", "", "pods", "", "town")
SETTINGS = Attributes("get", "", "configmaps", "", "shop", "settings")


@pytest.mark.parametrize(
    "bound, user, groups, asked, allowed",
    [
        (binding("ClusterRole/reader", ANN), "ann", (), IN_SHOP, True),
        (binding("ClusterRole/reader", ANN), "ann", (), Attributes("list", "", "pods"), True),
        (binding("ClusterRole/reader", ANN), "bob", ("ann",), IN_SHOP, False),
        (binding("ClusterRole/reader", STAFF), "bob", ("x", "staff"), IN_SHOP, True),
        (binding("ClusterRole/reader", STAFF), "staff", (), IN_SHOP, False),
        (binding("ClusterRole/reader", ANN, "shop"), "ann", (), IN_SHOP, True),
        (binding("ClusterRole/reader", ANN, "shop"), "ann", (), IN_TOWN, False),
        (binding("ClusterRole/reader", ANN, "shop"), "ann", (), Attributes("list", "", "pods"), False),
        (binding("Role/reader", ANN, "shop"), "ann", (), SETTINGS, True),
        (binding("Role/reader", ANN, "shop"), "ann", (), IN_SHOP, False),
        (binding("Role/reader", ANN, "town"), "ann", (), SETTINGS, False),
        (binding("ClusterRole/reader", BOT), "system:serviceaccount:shop:bot", (), IN_TOWN, True),
        (binding("ClusterRole/reader", BOT), "system:serviceaccount:town:bot", (), IN_TOWN, False),
        (binding("ClusterRole/gone", ANN), "ann", (), IN_SHOP, False),
    ],
)
def test_a_binding_gives_a_role_to_its_subjects(
    bound: Binding, user: str, groups: tuple[str, ...], asked: Attributes, allowed: bool
) -> None:
    assert (Policy(ROLES, [bound]).find(user, groups, asked) is not None) is allowed


def test_the_reason_names_binding_role_and_subject() -> None:
    found = Policy(ROLES, [binding("ClusterRole/reader", BOT, "shop")]).find(
        "system:serviceaccount:shop:bot", (), IN_SHOP
    )
    assert found
    assert (
        found.reason == 'RBAC: allowed by RoleBinding "bound/shop" of ClusterRole "reader" to ServiceAccount "bot/shop"'
    )


def test_a_refusal_is_in_kubernetes_words() -> None:
    assert refusal("ann", Attributes("update", "apps", "deployments", "scale", "shop", "web")) == (
        'User "ann" cannot update resource "deployments/scale" in API group "apps" in the namespace "shop"'
    )
    assert refusal("ann", Attributes("list", "", "nodes")) == (
        'User "ann" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert refusal("ann", Attributes("get", path="/metrics")) == 'User "ann" cannot get path "/metrics"'
