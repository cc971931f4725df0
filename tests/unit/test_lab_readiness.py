"""When everything that was applied runs."""

from __future__ import annotations

from typing import Any

from fairway.lab.readiness import missing
from fairway.objects.cluster import Pod
from fairway.objects.codec import view
from fairway.objects.workloads import Deployment


def deployment(wanted: int | None, generation: int = 1, **status: int) -> Deployment:
    document = {
        "metadata": {"name": "web", "namespace": "shop", "generation": generation},
        "spec": {} if wanted is None else {"replicas": wanted},
        "status": {"observedGeneration": 1, **status},
    }
    return view(document, Deployment)


def pod(ready: bool, **fields: Any) -> Pod:
    document = {
        "metadata": {"name": "web-1", "namespace": "shop", **fields.pop("metadata", {})},
        "spec": fields,
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    return view(document, Pod)


def test_nothing_is_missing_when_all_replicas_are_ready() -> None:
    done = deployment(2, replicas=2, updatedReplicas=2, readyReplicas=2)
    assert missing([done], [pod(True, nodeName="node-1")]) == []


def test_a_deployment_nobody_has_looked_at_is_missing_whatever_its_status_says() -> None:
    stale = deployment(2, generation=2, replicas=2, updatedReplicas=2, readyReplicas=2)
    assert missing([stale], []) == ["deployment shop/web: not seen yet"]


def test_old_pods_that_have_not_gone_count_as_missing() -> None:
    rolling = deployment(2, replicas=3, updatedReplicas=2, readyReplicas=3)
    assert missing([rolling], []) == ["deployment shop/web: 3 of 2 pods ready"]


def test_without_a_number_one_replica_is_wanted_and_zero_is_a_number() -> None:
    assert missing([deployment(None)], []) == ["deployment shop/web: 0 of 1 pods ready"]
    assert missing([deployment(0)], []) == []


def test_a_pod_says_how_far_it_is() -> None:
    assert missing([], [pod(False)]) == ["pod shop/web-1: not given to a node"]
    assert missing([], [pod(False, nodeName="node-1")]) == ["pod shop/web-1: Pending on node-1"]


def test_a_pod_that_is_going_is_not_waited_for() -> None:
    going = pod(False, nodeName="node-1", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert missing([], [going]) == []
