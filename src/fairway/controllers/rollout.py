"""How many pods each ReplicaSet of a Deployment should have at this moment of a rollout. Pure arithmetic.

    maxTotal     = replicas + maxSurge            never more pods than this
    minAvailable = replicas - maxUnavailable      never fewer that answer

A rollout is a sequence of small steps; each is taken when what the pods do allows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairway.controllers.workloads import Deployment, ReplicaSet
from fairway.objects.meta import Key


def limits(deployment: Deployment) -> tuple[int, int]:
    """How many pods there may be too many and too few, as (surge, unavailable)."""
    rolling = deployment.spec.strategy.rolling_update
    surge = _resolve(rolling.max_surge if rolling else None, deployment.replicas, up=True)
    unavailable = _resolve(rolling.max_unavailable if rolling else None, deployment.replicas, up=False)
    # Percentages may round both to zero, and then nothing could ever move.
    return (surge, unavailable) if surge or unavailable else (0, 1)


def min_available(deployment: Deployment) -> int:
    if deployment.spec.strategy.type == "Recreate":
        return deployment.replicas
    return deployment.replicas - min(limits(deployment)[1], deployment.replicas)


def first_replicas(deployment: Deployment, others: Sequence[ReplicaSet]) -> int:
    """How many pods a ReplicaSet that is just being created starts with."""
    return _grown(deployment, 0, sum(one.replicas for one in others))


def must_wait_for_old(deployment: Deployment, old: Sequence[ReplicaSet], old_pods: int) -> bool:
    """Whether the new pods may not come yet: ``Recreate`` never runs two versions at once, not even for a moment."""
    return deployment.spec.strategy.type == "Recreate" and (old_pods > 0 or any(one.replicas for one in old))


def next_scales(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet], old_pods: int
) -> dict[Key, int]:
    """The ReplicaSets to scale now, and to which number; ``old`` are all but the new one, oldest first.

    ``old_pods`` counts the pods of the old ones that still exist. Empty when there is nothing to do before the pods
    have changed.
    """
    current = {one.key: one.replicas for one in (new, *old) if one is not None}
    if deployment.spec.paused:
        scales = _paused(deployment, new, old)
    elif must_wait_for_old(deployment, old, old_pods):
        scales = {one.key: 0 for one in old}
    elif new is None:
        scales = {}
    else:
        grown = _grown(deployment, new.replicas, sum(current.values()))
        scales = {new.key: grown} if grown > new.replicas else {new.key: grown, **_shrunk(deployment, new, old)}
    return {key: replicas for key, replicas in scales.items() if replicas != current[key]}


def _paused(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[Key, int]:
    """A paused Deployment does not roll, but it can be scaled while only one ReplicaSet has pods."""
    everything = [*old, *([new] if new else [])]
    active = [one for one in everything if one.replicas] or everything[-1:]
    return {active[0].key: deployment.replicas} if len(active) == 1 else {}


def _grown(deployment: Deployment, replicas: int, everything: int) -> int:
    """The new ReplicaSet's number, out of ``everything`` there is now."""
    if deployment.spec.strategy.type == "Recreate" or replicas >= deployment.replicas:
        return deployment.replicas
    room = deployment.replicas + limits(deployment)[0] - everything
    return replicas + max(0, min(room, deployment.replicas - replicas))


def _shrunk(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[Key, int]:
    """The old ones' numbers: first their pods that do not answer go, then as many as availability allows."""
    least = min_available(deployment)
    everything = sum(one.replicas for one in (new, *old))
    budget = everything - least - (new.replicas - new.status.available_replicas)
    sizes = {one.key: one.replicas for one in old}
    for one in old:
        broken = min(max(budget, 0), max(0, one.replicas - one.status.available_replicas))
        sizes[one.key] -= broken
        budget -= broken
    spare = sum(one.status.available_replicas for one in (new, *old)) - least
    for one in old:
        gone = min(sizes[one.key], max(0, spare), max(0, budget))
        sizes[one.key] -= gone
        spare -= gone
        budget -= gone
    return sizes


def _resolve(limit: int | str | None, replicas: int, *, up: bool) -> int:
    """A number, or a percentage of the replicas; a quarter when nothing is said, as Kubernetes defaults it."""
    if isinstance(limit, int):
        return max(0, limit)
    text = (limit or "25%").removesuffix("%")
    share = int(text) if text.isdecimal() else 25
    exact = share * replicas / 100
    return math.ceil(exact) if up else math.floor(exact)
