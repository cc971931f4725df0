"""A Deployment's ReplicaSets: one for each version of its pods, and a rollout from the older ones to the newest. Pure.

A change of ``replicas`` in the middle of a rollout goes to all ReplicaSets that have pods, in proportion, before the
rollout goes on: each of them notes for which size it was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairway.controllers.progress import next_status
from fairway.controllers.rollout import first_replicas, is_scaling, limits, must_wait_for_old, next_scales
from fairway.controllers.workloads import owner_reference, template_labels
from fairway.objects.codec import Document, encode
from fairway.objects.workloads import DESIRED, HASH_LABEL, MOST, REVISION, Deployment, DeploymentStatus, ReplicaSet

# Kubernetes leaves out vowels and what looks alike, so that no name becomes a word.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HISTORY_LIMIT = 10
_NOT_INHERITED = (REVISION, DESIRED, MOST, "kubectl.kubernetes.io/last-applied-configuration")


@dataclass(frozen=True)
class Changes:
    """``patch`` holds merge patches; ``annotations`` are to be set on the Deployment; ``again_in`` is in seconds."""

    create: Document | None = None
    patch: tuple[tuple[ReplicaSet, Document], ...] = ()
    delete: tuple[ReplicaSet, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    status: DeploymentStatus | None = None
    again_in: float | None = None


def reconcile(
    deployment: Deployment, replica_sets: Iterable[ReplicaSet], pods_of: Mapping[str, int], now: float
) -> Changes:
    """The next step, given the ReplicaSets that the Deployment owns.

    ``pods_of`` counts the existing pods of each ReplicaSet, by its uid; ``now`` is in seconds since 1970.
    """
    living = [one for one in replica_sets if one.metadata.deletion_timestamp is None]
    ordered = sorted(living, key=lambda one: (one.metadata.creation_timestamp or "", one.metadata.name))
    new = find_new(deployment, ordered)
    old = [one for one in ordered if one is not new]
    old_pods = sum(pods_of.get(one.metadata.uid, 0) for one in old)
    if deployment.metadata.deletion_timestamp is not None:
        status, _ = next_status(deployment, new, old, created="", now=now)
        return Changes(status=status)
    scaling = is_scaling(deployment, ordered)
    wait = deployment.spec.paused or scaling or must_wait_for_old(deployment, old, old_pods)
    create = None if new or wait else _new_replica_set(deployment, old)
    scales = {} if create else next_scales(deployment, new, old, old_pods)
    revision = _new_revision(new, old)
    patches = [
        (one, patch) for one in ordered if (patch := _patch(deployment, one, new, revision, scales.get(one.key)))
    ]
    created = create["metadata"]["name"] if create else ""
    status, again_in = next_status(deployment, new, old, created=created, now=now)
    return Changes(
        create=create,
        patch=tuple(patches),
        delete=() if create or scales else _outdated(deployment, new, old),
        annotations=_revision_annotation(deployment, revision if new or create else 0),
        status=status,
        again_in=again_in,
    )


def find_new(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the Deployment's present template; the oldest, should there be several."""
    wanted = without_hash(deployment.spec.template)
    return next((one for one in replica_sets if without_hash(one.spec.template) == wanted), None)


def without_hash(template: Document) -> Document:
    """A template without the label that ReplicaSets add to it."""
    labels = {key: value for key, value in template_labels(template).items() if key != HASH_LABEL}
    return {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}}


def template_hash(template: Document) -> str:
    """A short text that is the same for equal templates, whatever the order of their fields."""
    data = encode(_sorted(without_hash(template)))
    number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    text = ""
    for _ in range(10):
        number, rest = divmod(number, len(_ALPHABET))
        text += _ALPHABET[rest]
    return text


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return value


def _new_replica_set(deployment: Deployment, old: Sequence[ReplicaSet]) -> Document:
    template = deployment.spec.template
    hashed = template_hash(template)
    labels = {**template_labels(template), HASH_LABEL: hashed}
    selector = msgspec.to_builtins(deployment.spec.selector)
    selector["matchLabels"] = {**selector.get("matchLabels", {}), HASH_LABEL: hashed}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment.metadata.name}-{hashed}",
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": {
                **_inherited(deployment),
                **_sized_for(deployment),
                REVISION: str(_new_revision(None, old)),
            },
            "ownerReferences": [owner_reference("Deployment", deployment)],
        },
        "spec": {
            "replicas": first_replicas(deployment, old),
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": selector,
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }


def _inherited(deployment: Deployment) -> dict[str, str]:
    """The Deployment's annotations, such as the change cause that ``kubectl rollout history`` shows."""
    return {key: value for key, value in (deployment.metadata.annotations or {}).items() if key not in _NOT_INHERITED}


def _sized_for(deployment: Deployment) -> dict[str, str]:
    return {DESIRED: str(deployment.replicas), MOST: str(deployment.replicas + limits(deployment)[0])}


def _new_revision(new: ReplicaSet | None, old: Iterable[ReplicaSet]) -> int:
    """The newest version has the highest number, also when it is one that had been there before (a rollback)."""
    newest = max((one.revision for one in old), default=0) + 1
    return max(newest, new.revision) if new else newest


def _revision_annotation(deployment: Deployment, revision: int) -> dict[str, str]:
    wanted = {REVISION: str(revision)} if revision else {}
    return wanted if wanted and deployment.metadata.annotation(REVISION) != str(revision) else {}


def _patch(
    deployment: Deployment, one: ReplicaSet, new: ReplicaSet | None, revision: int, replicas: int | None
) -> Document:
    """The merge patch for a ReplicaSet, empty when it is right as it is."""
    spec: Document = {}
    metadata: Document = {}
    wanted: dict[str, str] = {}
    if replicas is not None:
        spec["replicas"] = replicas
    if replicas is not None or (one.replicas and one.number(DESIRED) is not None):
        wanted |= _sized_for(deployment)
    if one is new:
        wanted |= {**_inherited(deployment), REVISION: str(revision)}
    have = one.metadata.annotations or {}
    if changed := {key: value for key, value in wanted.items() if have.get(key) != value}:
        metadata["annotations"] = changed
    if one is new and one.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
        spec["minReadySeconds"] = deployment.spec.min_ready_seconds
    return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}


def _outdated(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> tuple[ReplicaSet, ...]:
    """Old versions beyond the number to keep for a rollback; nothing while a rollout is on."""
    if new is None or any(one.replicas for one in old):
        return ()
    limit = deployment.spec.revision_history_limit
    limit = _HISTORY_LIMIT if limit is None else limit
    idle = [one for one in old if not one.status.replicas and one.status.observed_generation >= one.metadata.generation]
    by_age = sorted(idle, key=lambda one: one.revision)
    return tuple(by_age[: max(0, len(idle) - limit)])
