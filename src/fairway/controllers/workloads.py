"""Deployments and ReplicaSets as their controllers read them: the pod template stays a document.

A template goes from the Deployment to the ReplicaSet to the Pods with every field that its author wrote, also those
that no class of ours knows.
"""

from __future__ import annotations

from typing import Any

from fairway.objects import resources
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import KubernetesObject, OwnerReference, Value
from fairway.objects.workloads import DeploymentStrategy, LabelSelector

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
# What a ReplicaSet was last sized for: the Deployment's replicas, and those with the surge.
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"


class ReplicaSetSpec(Value):
    replicas: int | None = None
    min_ready_seconds: int = 0
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}


class ReplicaSetStatus(Value):
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0


class ReplicaSet(KubernetesObject):
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()

    @property
    def replicas(self) -> int:
        """How many pods it should have; one when it does not say."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def revision(self) -> int:
        return self.number(REVISION) or 0

    def number(self, annotation: str) -> int | None:
        """The number that an annotation has, None for none."""
        text = self.metadata.annotation(annotation)
        return int(text) if text.isdecimal() else None


class DeploymentCondition(Value):
    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_update_time: str = ""
    last_transition_time: str = ""


class DeploymentSpec(Value):
    replicas: int | None = None
    min_ready_seconds: int = 0
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    strategy: DeploymentStrategy = DeploymentStrategy()
    revision_history_limit: int | None = None
    progress_deadline_seconds: int | None = None
    paused: bool = False


class DeploymentStatus(Value):
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[DeploymentCondition, ...] | None = None


class Deployment(KubernetesObject):
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()

    @property
    def replicas(self) -> int:
        """How many pods it should have; one when it does not say."""
        return 1 if self.spec.replicas is None else self.spec.replicas


DEPLOYMENTS = resources.DEPLOYMENTS.read_as(Deployment)
REPLICA_SETS = resources.REPLICA_SETS.read_as(ReplicaSet)


def template_labels(template: Document) -> dict[str, str]:
    labels: dict[str, str] = (template.get("metadata") or {}).get("labels") or {}
    return labels


def owner_reference(kind: str, owner: KubernetesObject) -> Document:
    """What a Deployment or ReplicaSet writes into what it makes."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owner_of(kind: str, owned: KubernetesObject) -> OwnerReference | None:
    """The controlling owner, if it is of that kind in the ``apps`` group."""
    owner = owned.metadata.controller()
    if owner is None or owner.kind != kind or not owner.api_version.startswith("apps/"):
        return None
    return owner


def ready_since(pod: Pod) -> str | None:
    """When the pod became ready (RFC 3339), None when it is not; empty when nobody noted the time."""
    for condition in pod.status.conditions or ():
        if condition.type == "Ready":
            return (condition.last_transition_time or "") if condition.status == "True" else None
    return None
