"""Which Events to write of all that a component tells. Pure.

    told ─▶ similar to many others of late? one combined message
         ─▶ said before? count it up, instead of another Event
         ─▶ too much about one object? nothing

The numbers are client-go's: a reader of ``kubectl describe`` sees what he is used to.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fairway.objects.codec import Document
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import EVENTS, EVENTS_V1, Resource
from fairway.runtime.clock import rfc3339, rfc3339_micro

_REMEMBERED = 4096
# So many different messages of one reason about one object, within so many seconds, are told one by one.
_SIMILAR, _SIMILAR_SECONDS = 10, 600.0
# About one object: so many at once, and then one every five minutes.
_BURST, _REFILL_SECONDS = 25.0, 300.0

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Told:
    """Something that happened to an object; ``type`` is Normal or Warning; ``action`` is what was tried."""

    kind: str
    api_version: str
    about: KubernetesObject
    type: str
    reason: str
    message: str
    action: str = ""


@dataclass(frozen=True)
class Write:
    """An Event to create; or, with a ``name``, the patch to one, and ``again`` to create it should it be gone."""

    namespace: str
    document: Document
    name: str = ""
    again: Document = field(default_factory=dict)
    resource: Resource[KubernetesObject] = EVENTS


@dataclass
class Bucket:
    """So many at once, and then one every ``refill`` seconds. Moments are seconds since 1970."""

    burst: float
    refill: float
    left: float
    at: float

    @classmethod
    def full(cls, burst: float, refill: float, now: float) -> Bucket:
        return cls(burst, refill, burst, now)

    def take(self, now: float) -> bool:
        """Whether there was one left."""
        self.left = min(self.burst, self.left + max(0.0, now - self.at) / self.refill)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass
class _Said:
    name: str
    first: float
    count: int


@dataclass
class _Group:
    messages: set[str]
    last: float


class _Recent(Generic[K, V]):
    """A bounded memory: what was not used for longest is forgotten first."""

    def __init__(self) -> None:
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: K, value: V) -> V:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > _REMEMBERED:
            self._items.popitem(last=False)
        return value


class Correlator:
    """Remembers what was told, for one component. Moments are seconds since 1970.

    With an ``instance``, such as ``fairway-proxy-node-1``, Events are those of ``events.k8s.io/v1``, which counts what
    comes again in a series; without one they are those of ``v1``.
    """

    def __init__(self, component: str, instance: str = "") -> None:
        self._component, self._instance = component, instance
        self._said: _Recent[object, _Said] = _Recent()
        self._groups: _Recent[object, _Group] = _Recent()
        self._buckets: _Recent[object, Bucket] = _Recent()
        self._last_name = 0

    def decide(self, told: Told, now: float) -> Write | None:
        """What to write of it; None for nothing."""
        about = (told.kind, told.about.metadata.uid or told.about.key)
        message = self._combined(about, told, now)
        if not self._may(about, now):
            return None
        # Combined ones count as one, whatever their last message.
        key = (about, told.type, told.reason, message if message == told.message else None)
        said = self._said.get(key)
        document = self._document(told, message, now)
        if said is None:
            self._said.put(key, _Said(document["metadata"]["name"], now, 1))
            return Write(document["metadata"]["namespace"], document, resource=self._resource)
        said.count += 1
        document["metadata"]["name"] = said.name
        changed = self._counted(document, said, message, now)
        return Write(document["metadata"]["namespace"], changed, said.name, document, self._resource)

    @property
    def _resource(self) -> Resource[KubernetesObject]:
        return EVENTS_V1 if self._instance else EVENTS

    def _counted(self, document: Document, said: _Said, message: str, now: float) -> Document:
        """Make the document one of something that came again; returns what is different in it."""
        if self._instance:
            changed: Document = {"series": {"count": said.count, "lastObservedTime": rfc3339_micro(now)}}
            document |= {**changed, "eventTime": rfc3339_micro(said.first)}
            return changed
        changed = {"count": said.count, "lastTimestamp": rfc3339(now), "message": message}
        document |= {"count": said.count, "firstTimestamp": rfc3339(said.first)}
        return changed

    def _combined(self, about: object, told: Told, now: float) -> str:
        key = (about, told.type, told.reason)
        group = self._groups.get(key)
        if group is None or now - group.last > _SIMILAR_SECONDS:
            group = self._groups.put(key, _Group(set(), now))
        group.last = now
        if told.message not in group.messages and len(group.messages) >= _SIMILAR:
            return f"(combined from similar events): {told.message}"
        group.messages.add(told.message)
        return told.message

    def _may(self, about: object, now: float) -> bool:
        bucket = self._buckets.get(about)
        return (bucket or self._buckets.put(about, Bucket.full(_BURST, _REFILL_SECONDS, now))).take(now)

    def _document(self, told: Told, message: str, now: float) -> Document:
        meta = told.about.metadata
        # Objects without a namespace have their Events in the default one.
        namespace = meta.namespace or "default"
        self._last_name = max(self._last_name + 1, int(now * 1e9))
        about = {
            "kind": told.kind,
            "apiVersion": told.api_version,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }
        document: Document = {
            # The object's name is cut, so that a long one leaves room for what makes the Event's own name.
            "metadata": {"name": f"{meta.name[:236]}.{self._last_name:x}", "namespace": namespace},
            "reason": told.reason,
            "type": told.type,
        }
        about = {field: value for field, value in about.items() if value}
        if self._instance:
            return document | {
                "regarding": about,
                "note": message[:1024],
                "action": told.action or told.reason,
                "reportingController": self._component,
                "reportingInstance": self._instance[:128],
                "eventTime": rfc3339_micro(now),
            }
        return document | {
            "involvedObject": about,
            "message": message[:1024],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "count": 1,
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
        }


def told(
    resource: Resource[KubernetesObject],
    about: KubernetesObject,
    reason: str,
    message: str,
    type_: str = "Normal",
    action: str = "",
) -> Told:
    return Told(resource.kind, resource.api_version, about, type_, reason, message, action)
