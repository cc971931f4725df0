"""Unit tests of `fairway.controllers.replicasets`."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.controllers.replicasets import new_pod, reconcile
from fairway.objects.cluster import Pod
from fairway.objects.codec import view
from fairway.objects.workloads import ReplicaSet, ReplicaSetStatus
from fairway.runtime.clock import parse_rfc3339
from tests.unit.cluster_parts import pod

NOW = parse_rfc3339("2026-01-02T03:05:00Z")


def replica_set(replicas: int | None = 2, *, meta: dict[str, Any] | None = None, **spec: Any) -> ReplicaSet:
    return view(
        {
            "metadata": {"namespace": "shop", "name": "web-1", "uid": "uid-rs", "generation": 3, **(meta or {})},
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}, "name": "ignored"},
                    "spec": {"containers": [{"name": "c", "unheardOf": 1}]},
                },
                **spec,
            },
        },
        ReplicaSet,
    )


@pytest.mark.parametrize(
    "replicas, pods, create, delete",
    [
        (2, [], 2, 0),
        (None, [], 1, 0),
        (2, [pod("a"), pod("b")], 0, 0),
        (0, [pod("a"), pod("b")], 0, 2),
        (2, [pod("a"), pod("b", status={"phase": "Failed"})], 1, 0),
        (1, [pod("a"), pod("b", meta={"deletionTimestamp": "2026-01-02T03:04:05Z"})], 0, 0),
    ],
    ids=["none", "one by default", "enough", "too many", "a failed one does not count", "nor one that is leaving"],
)
def test_as_many_pods_as_wanted(replicas: int | None, pods: list[Pod], create: int, delete: int) -> None:
    changes = reconcile(replica_set(replicas), pods, NOW)
    assert (changes.create, len(changes.delete)) == (create, delete)


def test_a_replica_set_that_is_being_deleted_makes_and_deletes_nothing() -> None:
    changes = reconcile(replica_set(meta={"deletionTimestamp": "2026-01-02T03:04:05Z"}), [], NOW)
    assert (changes.create, changes.delete) == (0, ())


@pytest.mark.parametrize(
    "keep, go",
    [
        (pod("a"), pod("b", node="")),
        (pod("a"), pod("b", status={"phase": "Pending"})),
        (pod("a"), pod("b", ready=False)),
        (pod("a"), pod("b", meta={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}})),
        (pod("a", since="2026-01-02T00:00:00Z"), pod("b", since="2026-01-02T01:00:00Z")),
        (
            pod("a", meta={"creationTimestamp": "2026-01-02T00:00:00Z"}),
            pod("b", meta={"creationTimestamp": "2026-01-02T01:00:00Z"}),
        ),
    ],
    ids=["without a node", "pending", "not ready", "cheap", "ready for less long", "younger"],
)
def test_the_least_useful_pod_goes(keep: Pod, go: Pod) -> None:
    for pods in ([keep, go], [go, keep]):
        assert reconcile(replica_set(1), pods, NOW).delete == (go,)


def test_a_pod_on_the_fuller_node_goes() -> None:
    pods = [pod("a", node="n1"), pod("b", node="n2"), pod("c", node="n2")]
    assert [one.spec.node_name for one in reconcile(replica_set(2), pods, NOW).delete] == ["n2"]


def test_the_status_counts_and_is_left_alone_when_it_is_right() -> None:
    pods = [pod("a"), pod("b", ready=False, labels={"other": "one"})]
    status = reconcile(replica_set(), pods, NOW).status
    assert status == ReplicaSetStatus(
        replicas=2, fully_labeled_replicas=1, ready_replicas=1, available_replicas=1, observed_generation=3
    )
    given = ReplicaSet(metadata=replica_set().metadata, spec=replica_set().spec, status=status)
    assert reconcile(given, pods, NOW).status is None


def test_a_pod_is_available_once_it_has_been_ready_for_long_enough() -> None:
    given = replica_set(1, minReadySeconds=30)
    changes = reconcile(given, [pod("a", since="2026-01-02T03:04:40Z")], NOW)
    assert changes.status is not None
    assert (changes.status.ready_replicas, changes.status.available_replicas, changes.again_in) == (1, 0, 10)
    later = reconcile(given, [pod("a", since="2026-01-02T03:04:40Z")], NOW + 10)
    assert later.status is not None
    assert (later.status.available_replicas, later.again_in) == (1, None)


def test_a_new_pod_is_the_template_with_an_owner() -> None:
    made = new_pod(replica_set())
    assert made["spec"] == {"containers": [{"name": "c", "unheardOf": 1}]}
    assert made["metadata"] == {
        "generateName": "web-1-",
        "namespace": "shop",
        "labels": {"app": "web"},
        "annotations": {"a": "b"},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "web-1",
                "uid": "uid-rs",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
