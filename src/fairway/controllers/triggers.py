"""When the cause of a change happened: what the time from a pod's readiness to the kernel is measured from."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.objects.cluster import Pod
from fairway.objects.meta import Key
from fairway.objects.service import Service


class TriggerTimes:
    """The newest cause seen for each Service and for each of its pods. Times are RFC 3339 text in UTC, which sorts."""

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[str, dict[Key, str]]] = {}

    def next(self, service: Service, pods: Iterable[Pod]) -> str:
        """The earliest cause that was not there the last time; empty when nothing is new."""
        created, known = self._seen.get(service.key, ("", {}))
        now = {pod.key: time for pod in pods if (time := _ready_since(pod))}
        causes = [time for key, time in now.items() if time > known.get(key, "")]
        birth = service.metadata.creation_timestamp or ""
        if birth > created:
            causes.append(birth)
        self._seen[service.key] = (birth, now)
        return min(causes, default="")

    def forget(self, service: Key) -> None:
        self._seen.pop(service, None)


def _ready_since(pod: Pod) -> str:
    """When the pod's readiness last changed; empty when it never was set."""
    for condition in pod.status.conditions or ():
        if condition.type == "Ready":
            return condition.last_transition_time or ""
    return ""
