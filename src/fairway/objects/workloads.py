"""Deployments and ReplicaSets, in the small form the lab needs to make pods come and go.

The pod template stays a document: it goes from the Deployment to the ReplicaSet to the Pods with every field that its
author wrote, also those that no class of ours knows.
"""

from __future__ import annotations

from typing import Any

from fairway.objects.meta import KubernetesObject, Value

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
# What a ReplicaSet was last sized for: the Deployment's replicas, and those with the surge.
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"


class LabelSelectorRequirement(Value):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class LabelSelector(Value):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = None


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


class RollingUpdate(Value):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(Value):
    type: str = ""
    rolling_update: RollingUpdate | None = None


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
