"""Which node a pod goes to: one that fits, with the fewest pods of the same owner. Pure.

The small form that a lab needs: node selectors, taints and cordons count; resources, affinity and topology spread
constraints do not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fairway.objects.cluster import Node, Pod, Taint, Toleration
from fairway.objects.meta import Key

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
DEFAULT_SCHEDULER = "default-scheduler"


@dataclass(frozen=True)
class Placement:
    """The node, or else why there is none, in the words of Kubernetes' scheduler."""

    node: str = ""
    message: str = ""


class Spread:
    """How many pods each node has, in all and of each owner. Every pod is counted once, wherever it is put last."""

    def __init__(self) -> None:
        self._placed: dict[Key, tuple[str, str]] = {}
        self._of_owner: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._of_node: Counter[str] = Counter()

    def put(self, pod: Key, owner: str, node: str) -> None:
        """The pod runs on this node; on none, when ``node`` is empty."""
        self.remove(pod)
        if node:
            self._placed[pod] = owner, node
            self._of_owner[owner][node] += 1
            self._of_node[node] += 1

    def remove(self, pod: Key) -> None:
        if pod not in self._placed:
            return
        owner, node = self._placed.pop(pod)
        self._of_owner[owner][node] -= 1
        self._of_node[node] -= 1
        if not +self._of_owner[owner]:
            del self._of_owner[owner]

    def node_of(self, pod: Key) -> str:
        return self._placed.get(pod, ("", ""))[1]

    def load(self, owner: str, node: str) -> tuple[int, int]:
        """Pods of the owner on the node, and of everybody."""
        counted = self._of_owner.get(owner)
        return (counted[node] if counted else 0), self._of_node[node]


def owner_uid(pod: Pod) -> str:
    """What a pod is spread with: the pods of one controller, or nothing but itself."""
    owner = pod.metadata.controller()
    return owner.uid if owner else pod.metadata.uid


def needs_node(pod: Pod) -> bool:
    """Whether the pod waits for a node, and for nobody else to find it."""
    return (
        not pod.spec.node_name
        and not pod.terminating
        and pod.status.phase not in ("Succeeded", "Failed")
        and pod.spec.scheduler_name in ("", DEFAULT_SCHEDULER)
    )


def place(pod: Pod, nodes: Iterable[Node], spread: Spread) -> Placement:
    """The node for a pod. Equal loads are decided by the node's name: the same cluster gives the same answer."""
    reasons: Counter[str] = Counter()
    fitting: list[str] = []
    for node in nodes:
        reason = _misfit(pod, node)
        if reason:
            reasons[reason] += 1
        else:
            fitting.append(node.metadata.name)
    if fitting:
        owner = owner_uid(pod)
        return Placement(min(fitting, key=lambda name: (*spread.load(owner, name), name)))
    if not reasons:
        return Placement(message="no nodes available to schedule pods")
    words = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return Placement(message=f"0/{reasons.total()} nodes are available: {words}.")


def _misfit(pod: Pod, node: Node) -> str:
    """Why the pod cannot go to the node; empty when it can."""
    if node.spec.unschedulable and not _tolerates(pod, Taint(key=UNSCHEDULABLE_TAINT, effect="NoSchedule")):
        return "node(s) were unschedulable"
    for taint in node.spec.taints or ():
        if taint.effect in ("NoSchedule", "NoExecute") and not _tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    labels = node.metadata.labels or {}
    if any(labels.get(key) != value for key, value in (pod.spec.node_selector or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    return "" if node.ready else "node(s) were not ready"


def _tolerates(pod: Pod, taint: Taint) -> bool:
    return any(_matches(toleration, taint) for toleration in pod.spec.tolerations or ())


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value
