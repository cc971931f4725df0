"""What every Kubernetes object carries: a name, a place, labels and a history.

All objects are frozen, compact structs that keep only the fields Fairway reads. They are *views*: whoever has to
give an object back unchanged (the API server) keeps the JSON document beside them.
"""

from __future__ import annotations

from typing import NamedTuple, dataclass_transform

import msgspec

_INITIALISMS = {"ip": "IP", "ips": "IPs", "cidr": "CIDR", "cidrs": "CIDRs", "id": "ID"}


def json_name(field: str) -> str:
    """The JSON name of a Python field: ``cluster_ips`` is ``clusterIPs``, ``ip_families`` is ``ipFamilies``."""
    first, *rest = field.split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, rename=json_name):
    """The base of every object and every part of one: immutable, comparable, without defaults in its JSON."""


class Key(NamedTuple):
    """Where an object lives: ``namespace/name``, or ``name`` alone for a kind without namespaces."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(Value):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Value):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    finalizers: tuple[str, ...] | None = None

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    def label(self, name: str, default: str = "") -> str:
        return (self.labels or {}).get(name, default)

    def annotation(self, name: str, default: str = "") -> str:
        return (self.annotations or {}).get(name, default)

    def controller(self) -> OwnerReference | None:
        """The one owner that manages this object, if it has one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class KubernetesObject(Value):
    """A whole object: what it is, its metadata, and the parts that its own class adds."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> Key:
        return self.metadata.key


class Condition(Value):
    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
