"""Unit tests of `fairway.apiserver.validation.rbac`: roles and bindings that say what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import rbac

READ: dict[str, Any] = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
HEALTH: dict[str, Any] = {"verbs": ["get"], "nonResourceURLs": ["/healthz"]}
REFERENCE = {"apiGroup": rbac.GROUP, "kind": "ClusterRole", "name": "view"}
ANN = {"apiGroup": rbac.GROUP, "kind": "User", "name": "ann"}


def role(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "reader", "namespace": "shop"}, "rules": list(rules)}


def binding(subject: dict[str, Any], reference: dict[str, Any] = REFERENCE) -> dict[str, Any]:
    return {"metadata": {"name": "system:readers"}, "roleRef": reference, "subjects": [subject]}


@pytest.mark.parametrize(
    "rule, error",
    [
        (READ, []),
        ({**READ, "verbs": []}, ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        (
            {"verbs": ["get"]},
            [
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            HEALTH,
            [
                'rules[0].nonResourceURLs: Invalid value: ["/healthz"]: '
                "namespaced rules cannot apply to non-resource URLs"
            ],
        ),
    ],
)
def test_a_rule_says_what_and_how(rule: dict[str, Any], error: list[str]) -> None:
    assert [str(one) for one in rbac.validate_role(role(rule), namespaced=True)] == error


def test_only_a_cluster_role_is_about_paths_and_then_about_nothing_else() -> None:
    document: dict[str, Any] = {"metadata": {"name": "health"}, "rules": [HEALTH]}
    assert rbac.validate_role(document, namespaced=False) == []
    document["rules"] = [HEALTH | READ]
    assert [str(one) for one in rbac.validate_role(document, namespaced=False)] == [
        'rules[0].nonResourceURLs: Invalid value: ["/healthz"]: '
        "rules cannot apply to both regular resources and non-resource URLs"
    ]


@pytest.mark.parametrize(
    "subject, error",
    [
        (ANN, ""),
        ({"kind": "ServiceAccount", "name": "bot", "namespace": "shop"}, ""),
        (
            {"kind": "ServiceAccount", "name": "b", "namespace": "s", "apiGroup": "x"},
            'subjects[0].apiGroup: Unsupported value: "x": supported values: ""',
        ),
        ({**ANN, "name": ""}, "subjects[0].name: Required value"),
        ({**ANN, "kind": "Robot"}, 'subjects[0].kind: Unsupported value: "Robot": '),
        ({**ANN, "apiGroup": "x"}, 'subjects[0].apiGroup: Unsupported value: "x": '),
        ({"kind": "ServiceAccount", "name": "bot"}, "subjects[0].namespace: Required value"),
        ({"kind": "ServiceAccount", "name": "B!", "namespace": "shop"}, 'subjects[0].name: Invalid value: "B!"'),
    ],
)
def test_a_binding_names_users_groups_and_service_accounts(subject: dict[str, Any], error: str) -> None:
    found = [str(one) for one in rbac.validate_binding(binding(subject), namespaced=False)]
    assert len(found) == bool(error)
    assert all(one.startswith(error) for one in found)


def test_a_cluster_wide_binding_gives_a_cluster_role() -> None:
    found = rbac.validate_binding(binding(ANN, {**REFERENCE, "kind": "Role"}), namespaced=False)
    assert [str(one) for one in found] == ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']


def test_a_binding_stays_one_to_the_same_role() -> None:
    found = rbac.validate_binding_update(binding(ANN, {**REFERENCE, "name": "cluster-admin"}), binding(ANN))
    assert [(one.path, one.detail) for one in found] == [("roleRef", "cannot change roleRef")]
    assert rbac.validate_binding_update(binding({**ANN, "name": "bob"}), binding(ANN)) == []


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"apiGroup": "x"}, 'roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"'),
        ({"kind": "Role"}, 'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'),
        ({"name": ""}, "roleRef.name: Required value"),
        ({"name": "a/b"}, 'roleRef.name: Invalid value: "a/b": may not contain'),
    ],
)
def test_a_binding_names_a_role(changes: dict[str, Any], error: str) -> None:
    found = rbac.validate_binding(binding(ANN, REFERENCE | changes), namespaced=False)
    assert [str(one)[: len(error)] for one in found] == [error]
