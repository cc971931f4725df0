"""A ReplicaSet's pods: how many to make, which to delete, and what its status says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fairway.controllers.workloads import owner_reference, ready_since, template_labels
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.workloads import ReplicaSet, ReplicaSetStatus
from fairway.runtime.clock import parse_rfc3339

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True)
class Changes:
    """``create`` is a number of pods; ``status`` is None when it is right as it is.

    ``again_in`` are seconds until a ready pod has been so for long enough to count as available.
    """

    create: int = 0
    delete: tuple[Pod, ...] = ()
    status: ReplicaSetStatus | None = None
    again_in: float | None = None


def reconcile(replica_set: ReplicaSet, pods: Iterable[Pod], now: float) -> Changes:
    """What to do, given the pods that this ReplicaSet owns; ``now`` is in seconds since 1970.

    Pods that are finished or on their way out do not count, neither as there nor as something to delete.
    """
    active = [pod for pod in pods if not pod.terminating and pod.status.phase not in ("Succeeded", "Failed")]
    status, again_in = _status(replica_set, active, now)
    changed = status if status != replica_set.status else None
    if replica_set.metadata.deletion_timestamp is not None:
        return Changes(status=changed)
    surplus = len(active) - replica_set.replicas
    return Changes(
        create=max(0, -surplus),
        delete=tuple(_least_wanted(active)[: max(0, surplus)]),
        status=changed,
        again_in=again_in,
    )


def new_pod(replica_set: ReplicaSet) -> Document:
    """The Pod to create; the server completes its name."""
    template = replica_set.spec.template
    metadata = template.get("metadata") or {}
    kept = {field: metadata[field] for field in ("labels", "annotations", "finalizers") if metadata.get(field)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "generateName": f"{replica_set.metadata.name}-",
            "namespace": replica_set.metadata.namespace,
            "ownerReferences": [owner_reference("ReplicaSet", replica_set)],
        },
        "spec": template.get("spec") or {},
    }


def _status(replica_set: ReplicaSet, active: list[Pod], now: float) -> tuple[ReplicaSetStatus, float | None]:
    labels = template_labels(replica_set.spec.template)
    waits = [
        wait for pod in active if (wait := _available_in(pod, replica_set.spec.min_ready_seconds, now)) is not None
    ]
    status = ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(labels.items() <= (pod.metadata.labels or {}).items() for pod in active),
        ready_replicas=len(waits),
        available_replicas=sum(wait <= 0 for wait in waits),
        observed_generation=replica_set.metadata.generation,
    )
    return status, min((wait for wait in waits if wait > 0), default=None)


def _available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod counts as available, None while it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if not min_ready_seconds or not since:
        return 0.0
    return max(0.0, parse_rfc3339(since) + min_ready_seconds - now)


def _least_wanted(active: list[Pod]) -> list[Pod]:
    """The pods in the order in which they should go.

    Kubernetes' order: not placed, then not running, then not ready, then cheap ones (the pod-deletion-cost
    annotation), then those that share their node with most others, then those that became ready last, then the
    youngest.
    """
    neighbours = Counter(pod.spec.node_name for pod in active)

    def rank(pod: Pod) -> tuple[object, ...]:
        return (
            bool(pod.spec.node_name),
            {"Pending": 0, "": 0, "Unknown": 1}.get(pod.status.phase, 2),
            pod.ready,
            _cost(pod),
            -neighbours[pod.spec.node_name],
            _Latest(ready_since(pod) or ""),
            _Latest(pod.metadata.creation_timestamp or ""),
            pod.metadata.name,
        )

    return sorted(active, key=rank)


def _cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotation(DELETION_COST, "0"))
    except ValueError:
        return 0


@dataclass(frozen=True)
class _Latest:
    """Sorts times from the latest to the earliest."""

    time: str

    def __lt__(self, other: _Latest) -> bool:
        return self.time > other.time
