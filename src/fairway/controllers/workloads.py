"""What the controllers of Deployments and ReplicaSets have in common: owners, labels of templates, readiness."""

from __future__ import annotations

from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import KubernetesObject, OwnerReference


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
