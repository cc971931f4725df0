"""A Deployment's status: its counts, and the conditions that ``kubectl rollout status`` and ``wait`` read. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairway.controllers.rollout import min_available
from fairway.objects.workloads import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet
from fairway.runtime.clock import parse_rfc3339, rfc3339

_DEADLINE = 600
# kubectl sets it to the largest 32-bit number to mean: no deadline.
_NO_DEADLINE = 2**31 - 1
Reason = tuple[str, str, str]
"""Status, reason and message of a condition."""


def next_status(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet], *, created: str, now: float
) -> tuple[DeploymentStatus | None, float | None]:
    """The status to write, None when it is right; and the seconds until the progress deadline, if one runs.

    ``created`` is the name of the ReplicaSet that is about to be created.
    """
    before = deployment.status
    counts = _counts(deployment, new, old)
    available = _condition(before, "Available", _availability(deployment, counts), now)
    reason = _progress(deployment, counts, new, created, now)
    refresh = _moved(before, counts) and reason is not None and reason[1] == "ReplicaSetUpdated"
    progressing = _condition(before, "Progressing", reason, now, refresh=refresh)
    conditions = tuple(one for one in (available, progressing) if one is not None)
    status = msgspec.structs.replace(counts, conditions=conditions)
    waits = progressing is not None and progressing.status == "True" and progressing.reason != "NewReplicaSetAvailable"
    again_in = _time_left(deployment, progressing, now) if waits and progressing else None
    return (status if status != before else None), again_in


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether every pod is of the newest version, and available."""
    return status.updated_replicas == status.replicas == status.available_replicas == deployment.replicas


def _counts(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> DeploymentStatus:
    everything = [*old, *([new] if new else [])]
    available = sum(one.status.available_replicas for one in everything)
    return DeploymentStatus(
        replicas=sum(one.status.replicas for one in everything),
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(one.status.ready_replicas for one in everything),
        available_replicas=available,
        unavailable_replicas=max(0, sum(one.replicas for one in everything) - available),
        observed_generation=deployment.metadata.generation,
    )


def _availability(deployment: Deployment, counts: DeploymentStatus) -> Reason:
    if counts.available_replicas >= min_available(deployment):
        return "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _progress(
    deployment: Deployment, counts: DeploymentStatus, new: ReplicaSet | None, created: str, now: float
) -> Reason | None:
    """What the Progressing condition should say, None when it stays as it is."""
    current = _find(deployment.status, "Progressing")
    who = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    if deployment.spec.paused:
        return "Unknown", "DeploymentPaused", "Deployment is paused"
    if created:
        return "True", "NewReplicaSetCreated", f'Created new replica set "{created}"'
    if new is not None and is_complete(deployment, counts):
        return "True", "NewReplicaSetAvailable", f"{who} has successfully progressed."
    was_complete = current is not None and current.reason == "NewReplicaSetAvailable"
    if was_complete and counts.replicas == counts.updated_replicas:
        # The rollout is over; that a pod comes or goes later does not start it again.
        return None
    if current is not None and current.reason == "DeploymentPaused":
        return "Unknown", "DeploymentResumed", "Deployment is resumed"
    if current is None or was_complete or _moved(deployment.status, counts):
        return "True", "ReplicaSetUpdated", f"{who} is progressing."
    if current.status != "False" and _time_left(deployment, current, now) == 0.0:
        return "False", "ProgressDeadlineExceeded", f"{who} has timed out progressing."
    return None


def _moved(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    """Whether the pods are nearer to where they should be."""
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _time_left(deployment: Deployment, progressing: DeploymentCondition, now: float) -> float | None:
    """Seconds until the rollout counts as stuck, None when it never does."""
    deadline = deployment.spec.progress_deadline_seconds
    deadline = _DEADLINE if deadline is None else deadline
    if deadline >= _NO_DEADLINE or not progressing.last_update_time:
        return None
    return max(0.0, parse_rfc3339(progressing.last_update_time) + deadline - now)


def _condition(
    status: DeploymentStatus, type_: str, wanted: Reason | None, now: float, *, refresh: bool = False
) -> DeploymentCondition | None:
    """The condition as it should be; its times move only when it says something new, or when asked to."""
    current = _find(status, type_)
    if wanted is None or (current and (current.status, current.reason, current.message) == wanted and not refresh):
        return current
    time = rfc3339(now)
    same = current is not None and current.status == wanted[0]
    return DeploymentCondition(
        type=type_,
        status=wanted[0],
        reason=wanted[1],
        message=wanted[2],
        last_update_time=time,
        last_transition_time=current.last_transition_time if current and same else time,
    )


def _find(status: DeploymentStatus, type_: str) -> DeploymentCondition | None:
    return next((one for one in status.conditions or () if one.type == type_), None)
