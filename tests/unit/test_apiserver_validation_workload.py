"""Deployments and ReplicaSets: selector, template, strategy."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fairway.apiserver import defaults
from fairway.apiserver.validation import workload as rules
from fairway.objects.codec import Document

TEMPLATE: Document = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}


def deployment(**spec: Any) -> Document:
    whole = {"selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE} | spec
    given = {field: copy.deepcopy(value) for field, value in whole.items() if value is not None}
    return defaults.deployment({"metadata": {"name": "web", "namespace": "shop"}, "spec": given})


def template(**spec: Any) -> Document:
    return deployment(template={**TEMPLATE, "spec": TEMPLATE["spec"] | spec})


def rolling(**values: Any) -> Document:
    return deployment(strategy={"type": "RollingUpdate", "rollingUpdate": values})


def expression(**fields: Any) -> Document:
    return deployment(selector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]} | fields]})


EXPRESSION = "spec.selector.matchExpressions[0]"
UPDATE = "spec.strategy.rollingUpdate"
WRONG: list[tuple[str, Document, str, str]] = [
    (
        "rolling without numbers",
        {**deployment(), "spec": {**deployment()["spec"], "strategy": {"type": "RollingUpdate"}}},
        UPDATE,
        "Required value: this should be defaulted and never be nil",
    ),
    ("replicas", deployment(replicas=-1), "spec.replicas", "Invalid value: -1: must be greater than or equal to 0"),
    ("no selector", deployment(selector=None), "spec.selector", "Required value"),
    (
        "empty selector",
        deployment(selector={}),
        "spec.selector",
        "Invalid value: {}: empty selector is invalid for depl",
    ),
    (
        "other labels",
        deployment(selector={"matchLabels": {"app": "db"}}),
        "spec.template.metadata.labels",
        'Invalid value: {"app":"web"}: `selector` does not match template `labels`',
    ),
    (
        "label",
        deployment(selector={"matchLabels": {"app": "a b"}}),
        "spec.selector.matchLabels[app]",
        'Invalid value: "a b": a valid label must be',
    ),
    ("operator", expression(operator="Is"), f"{EXPRESSION}.operator", 'Invalid value: "Is": not a valid selector oper'),
    (
        "no values",
        expression(values=[]),
        f"{EXPRESSION}.values",
        "Required value: must be specified when `operator` is 'In' or 'NotIn'",
    ),
    (
        "values",
        expression(operator="Exists"),
        f"{EXPRESSION}.values",
        "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ),
    (
        "restart policy",
        template(restartPolicy="Never"),
        "spec.template.spec.restartPolicy",
        'Unsupported value: "Never": supported values: "Always"',
    ),
    (
        "deadline",
        template(activeDeadlineSeconds=5),
        "spec.template.spec.activeDeadlineSeconds",
        "Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
    ),
    ("template", template(containers=[{"name": "a"}]), "spec.template.spec.containers[0].image", "Required value"),
    (
        "strategy",
        deployment(strategy={"type": "Blue"}),
        "spec.strategy.type",
        'Unsupported value: "Blue": supported values: "Recreate", "RollingUpdate"',
    ),
    (
        "recreate, rolling",
        deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
        UPDATE,
        "Forbidden: may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        "both zero",
        rolling(maxSurge=0, maxUnavailable="0%"),
        f"{UPDATE}.maxUnavailable",
        'Invalid value: "0%": may not be 0 when `maxSurge` is 0',
    ),
    ("percent", rolling(maxSurge="1"), f"{UPDATE}.maxSurge", 'Invalid value: "1": a valid percent string must be'),
    ("negative", rolling(maxSurge=-1), f"{UPDATE}.maxSurge", "Invalid value: -1: must be greater than or equal to 0"),
    (
        "more than all",
        rolling(maxUnavailable="101%"),
        f"{UPDATE}.maxUnavailable",
        'Invalid value: "101%": must not be greater than 100%',
    ),
    ("history", deployment(revisionHistoryLimit=-1), "spec.revisionHistoryLimit", "Invalid value: -1: must be greater"),
    (
        "progress deadline",
        deployment(progressDeadlineSeconds=5, minReadySeconds=5),
        "spec.progressDeadlineSeconds",
        "Invalid value: 5: must be greater than minReadySeconds",
    ),
]


@pytest.mark.parametrize("document, path, words", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_deployment_is_told_what_is_wrong_with_which_field(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in rules.validate_deployment(document)}
    assert errors.get(path, "").startswith(words), errors


@pytest.mark.parametrize(
    "document",
    [
        deployment(),
        deployment(replicas=0),
        deployment(strategy={"type": "Recreate"}),
        rolling(maxSurge=1, maxUnavailable=0),
        expression(),
        expression(operator="Exists", values=[]),
    ],
)
def test_a_valid_deployment_has_no_errors(document: Document) -> None:
    assert [str(error) for error in rules.validate_deployment(document)] == []


def test_a_replica_set_follows_the_same_rules() -> None:
    spec = {"replicas": -1, "template": TEMPLATE, "selector": {"matchLabels": {"app": "web"}}}
    document = defaults.replica_set({"metadata": {"name": "web", "namespace": "shop"}, "spec": copy.deepcopy(spec)})
    assert [error.path for error in rules.validate_replica_set(document)] == ["spec.replicas"]


def test_the_selector_does_not_change() -> None:
    new = deployment(selector={"matchLabels": {"app": "db"}})
    errors = [str(error) for error in rules.validate_update(new, deployment())]
    assert errors == ['spec.selector: Invalid value: {"matchLabels":{"app":"db"}}: field is immutable']


@pytest.mark.parametrize(
    "status, path",
    [
        ({"replicas": -1}, "status.replicas"),
        ({"replicas": 1, "readyReplicas": 2}, "status.readyReplicas"),
        ({"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}, "status.availableReplicas"),
        ({"replicas": 1, "updatedReplicas": 2}, "status.updatedReplicas"),
    ],
)
def test_counts_that_cannot_be_are_refused(status: Document, path: str) -> None:
    assert path in [error.path for error in rules.validate_counts({"status": status})]
