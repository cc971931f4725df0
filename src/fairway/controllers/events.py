"""Which Events to write of all that controllers tell. Pure.

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
from fairway.objects.resources import Resource
from fairway.runtime.clock import rfc3339

_REMEMBERED = 4096
# So many different messages of one reason about one object, within so many seconds, are told one by one.
_SIMILAR, _SIMILAR_SECONDS = 10, 600.0
# About one object: so many at once, and then one every five minutes.
_BURST, _REFILL_SECONDS = 25.0, 300.0

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Told:
    """Something that happened to an object; ``type`` is Normal or Warning."""

    kind: str
    api_version: str
    about: KubernetesObject
    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Write:
    """An Event to create; or, with a ``name``, the patch to one, and ``again`` to create it should it be gone."""

    namespace: str
    document: Document
    name: str = ""
    again: Document = field(default_factory=dict)


@dataclass
class _Said:
    name: str
    first: float
    count: int


@dataclass
class _Group:
    messages: set[str]
    last: float


@dataclass
class _Bucket:
    left: float
    at: float


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
    """Remembers what was told, for one component. Moments are seconds since 1970."""

    def __init__(self, component: str) -> None:
        self._component = component
        self._said: _Recent[object, _Said] = _Recent()
        self._groups: _Recent[object, _Group] = _Recent()
        self._buckets: _Recent[object, _Bucket] = _Recent()
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
            return Write(document["metadata"]["namespace"], document)
        said.count += 1
        changed: Document = {"count": said.count, "lastTimestamp": rfc3339(now), "message": message}
        document |= {"count": said.count, "firstTimestamp": rfc3339(said.first)}
        document["metadata"]["name"] = said.name
        return Write(document["metadata"]["namespace"], changed, said.name, document)

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
        bucket = self._buckets.get(about) or self._buckets.put(about, _Bucket(_BURST, now))
        bucket.left = min(_BURST, bucket.left + max(0.0, now - bucket.at) / _REFILL_SECONDS)
        bucket.at = now
        if bucket.left < 1.0:
            return False
        bucket.left -= 1.0
        return True

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
        return {
            # The object's name is cut, so that a long one leaves room for what makes the Event's own name.
            "metadata": {"name": f"{meta.name[:236]}.{self._last_name:x}", "namespace": namespace},
            "involvedObject": {field: value for field, value in about.items() if value},
            "reason": told.reason,
            "message": message[:1024],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "type": told.type,
            "count": 1,
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
        }


def told(
    resource: Resource[KubernetesObject], about: KubernetesObject, reason: str, message: str, type_: str = "Normal"
) -> Told:
    return Told(resource.kind, resource.api_version, about, type_, reason, message)
