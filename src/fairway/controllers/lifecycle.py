"""What a Node's silence means: its Ready condition, its taints, and the readiness of its pods. Pure.

    the Lease is renewed        Ready stays what the node says of itself
    silent for the grace period Ready=Unknown, taint unreachable, its ready pods become not ready
    renewed again               Ready=True, the taint goes, and those pods are what they were before

A pod's condition that we took away carries a reason of ours. Only such a one is given back: what the node's agent has
said about a pod in the meantime counts more than what we remember.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fairway.objects.cluster import Node, Pod, Taint
from fairway.objects.codec import Document
from fairway.objects.meta import Condition
from fairway.runtime.clock import rfc3339

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
SILENT = "NodeStatusUnknown"
POD_SILENT = "NodeUnreachable"
_OURS = (UNREACHABLE, NOT_READY)
_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Changes:
    """``condition`` is the Ready condition to write, ``taints`` all taints; None where it is right as it is."""

    condition: Document | None = None
    taints: list[Document] | None = None


def judge(node: Node, *, silent: bool, now: float) -> Changes:
    """What to write about a node whose agent renews a Lease, or did so once; ``now`` is in seconds since 1970."""
    ready = ready_condition(node.status.conditions)
    status = ready.status if ready else "Unknown"
    condition: Document | None = None
    if silent and status == "True":
        condition = _condition("Unknown", SILENT, "The node's agent has stopped renewing its Lease.", now)
    elif not silent and ready is not None and status == "Unknown" and ready.reason == SILENT:
        condition = _condition("True", "LeaseRenewed", "The node's agent renews its Lease again.", now)
    return Changes(condition, _taints(node, condition["status"] if condition else status, now))


def is_lost(node: Node) -> bool:
    """Whether we have written down that the node is silent."""
    ready = ready_condition(node.status.conditions)
    return ready is not None and ready.status == "Unknown" and ready.reason == SILENT


def pod_condition(pod: Pod, *, silent: bool, now: float) -> Document | None:
    """The Ready condition of a pod on a node that is silent, or is not any more; None when it stays."""
    ready = ready_condition(pod.status.conditions)
    if ready is None:
        return None
    if silent and ready.status == "True":
        return _condition("False", POD_SILENT, "The pod's node has stopped renewing its Lease.", now)
    if not silent and ready.status == "False" and ready.reason == POD_SILENT:
        return _condition("True", "", "", now)
    return None


def ready_condition(conditions: Sequence[Condition] | None) -> Condition | None:
    return next((one for one in conditions or () if one.type == "Ready"), None)


def _condition(status: str, reason: str, message: str, now: float) -> Document:
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }


def _taints(node: Node, status: str, now: float) -> list[Document] | None:
    """All taints, when ours are not those that belong to this status of Ready."""
    taints = node.spec.taints or ()
    key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(status)
    wanted = {(key, effect) for effect in _EFFECTS if key}
    ours = {(taint.key, taint.effect) for taint in taints if taint.key in _OURS}
    if ours == wanted:
        return None
    kept = [taint for taint in taints if taint.key not in _OURS or (taint.key, taint.effect) in wanted]
    added = [
        Taint(key=key or "", effect=effect, time_added=rfc3339(now))
        for effect in _EFFECTS
        if (key, effect) in wanted - ours
    ]
    return [msgspec.to_builtins(taint) for taint in (*kept, *added)]
