"""What the node agent says about a pod: its status as a document. Pure.

kubectl derives its columns from these fields: READY counts container statuses, STATUS is the phase, a container's
waiting reason, or Terminating.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.objects.cluster import Container, Pod
from fairway.objects.codec import Document

_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def running(pod: Pod, *, address: str, node_address: str, now: str) -> Document:
    """The status of a pod whose servers answer; ``now`` as Kubernetes writes times."""
    return {
        **_where(address, node_address, now),
        "phase": "Running",
        "conditions": _conditions(pod, now, false=()),
        "initContainerStatuses": [_finished(one, now) for one in pod.spec.init_containers or () if not _stays(one)]
        + [_container(pod, one, now, ready=True) for one in pod.spec.init_containers or () if _stays(one)],
        "containerStatuses": [_container(pod, one, now, ready=True) for one in pod.spec.containers or ()],
    }


def draining(pod: Pod, *, now: str) -> Document:
    """The part that changes when a pod is asked to go: it still answers, but wants no new clients."""
    return {
        "conditions": _conditions(pod, now, false=("Ready", "ContainersReady")),
        "containerStatuses": [_container(pod, one, now, ready=False) for one in pod.spec.containers or ()],
    }


def failed(pod: Pod, *, reason: str, node_address: str, now: str) -> Document:
    """The status of a pod whose servers could not be started: it waits, and it says why."""
    waiting = {"waiting": {"reason": "CreateContainerError", "message": reason}}
    return {
        "phase": "Pending",
        "hostIP": node_address,
        "startTime": now,
        "conditions": _conditions(pod, now, false=("Ready", "ContainersReady")),
        "containerStatuses": [
            {**_container(pod, one, now, ready=False), "started": False, "state": waiting}
            for one in pod.spec.containers or ()
        ],
    }


def _where(address: str, node_address: str, now: str) -> Document:
    return {
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "startTime": now,
    }


def _conditions(pod: Pod, now: str, false: Iterable[str]) -> list[Document]:
    """The five conditions; one that stays as it was keeps the time of its last change."""
    before = {condition.type: condition for condition in pod.status.conditions or ()}
    made = []
    for kind in _CONDITIONS:
        status = "False" if kind in false else "True"
        old = before.get(kind)
        since = (old.last_transition_time if old and old.status == status else None) or now
        made.append({"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since})
    return made


def _container(pod: Pod, container: Container, now: str, *, ready: bool) -> Document:
    return {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "containerID": f"fairway://{pod.metadata.uid}/{container.name}",
        "ready": ready,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }


def _finished(container: Container, now: str) -> Document:
    """An init container: the stand-ins need no preparation, so it has done its work."""
    ended = {"reason": "Completed", "exitCode": 0, "startedAt": now, "finishedAt": now}
    return {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"terminated": ended},
    }


def _stays(container: Container) -> bool:
    return container.restart_policy == "Always"
