"""How many pods each ReplicaSet of a Deployment should have at this moment of a rollout. Pure arithmetic.

    maxTotal     = replicas + maxSurge            never more pods than this
    minAvailable = replicas - maxUnavailable      never fewer that answer

A rollout is a sequence of small steps; each is taken when what the pods do allows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairway.objects.meta import Key
from fairway.objects.workloads import DESIRED, MOST, Deployment, ReplicaSet


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
    if deployment.spec.paused or is_scaling(deployment, [one for one in (new, *old) if one is not None]):
        scales = _scaled(deployment, new, old)
    elif must_wait_for_old(deployment, old, old_pods):
        scales = {one.key: 0 for one in old}
    elif new is None:
        scales = {}
    else:
        grown = _grown(deployment, new.replicas, sum(current.values()))
        scales = {new.key: grown} if grown > new.replicas else {new.key: grown, **_shrunk(deployment, new, old)}
    return {key: replicas for key, replicas in scales.items() if replicas != current[key]}


def is_scaling(deployment: Deployment, replica_sets: Sequence[ReplicaSet]) -> bool:
    """Whether the replicas have changed since the ReplicaSets were last sized: that goes before rolling."""
    rolling = deployment.spec.strategy.type != "Recreate"
    return rolling and any(
        one.replicas and one.number(DESIRED) not in (None, deployment.replicas) for one in replica_sets
    )


def _scaled(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[Key, int]:
    """The new size goes to the one ReplicaSet that has pods, or to all that have, in proportion."""
    everything = [*old, *([new] if new else [])]
    active = [one for one in everything if one.replicas]
    if len(active) < 2:
        target = active[0] if active else next(reversed(everything), None)
        return {target.key: deployment.replicas} if target else {}
    complete = new is not None and new.replicas == new.status.available_replicas == deployment.replicas
    if complete and new is not None and new.number(DESIRED) == deployment.replicas:
        return {one.key: 0 for one in old}
    return _in_proportion(deployment, active) if is_scaling(deployment, active) else {}


def _in_proportion(deployment: Deployment, active: Sequence[ReplicaSet]) -> dict[Key, int]:
    """Each keeps its share; what rounding leaves goes to the largest. Growth is for the newer ones first."""
    most = deployment.replicas + limits(deployment)[0] if deployment.replicas else 0
    change = most - sum(one.replicas for one in active)
    by_age = list(reversed(active)) if change > 0 else list(active)
    ordered = sorted(by_age, key=lambda one: -one.replicas)
    sizes: dict[Key, int] = {}
    left = change
    for one in ordered:
        before = one.number(MOST) or max(1, deployment.status.replicas)
        share = math.floor(one.replicas * most / before + 0.5) - one.replicas
        share = min(max(share, 0), left) if change > 0 else max(min(share, 0), left)
        sizes[one.key] = one.replicas + share
        left -= share
    sizes[ordered[0].key] = max(0, sizes[ordered[0].key] + left)
    return sizes


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
