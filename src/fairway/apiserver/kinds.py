"""The kinds that the API server serves, one row each; everything else about serving them is generic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fairway.apiserver import events
from fairway.apiserver.columns import COLUMNS
from fairway.apiserver.strategies import strategy
from fairway.apiserver.strategy import Allocator, Column, Strategy
from fairway.objects import resources
from fairway.objects.codec import Document, encode
from fairway.objects.resources import Resource

ALWAYS_SELECTABLE = ("metadata.name", "metadata.namespace")


# What an Event can be selected by: its field, and that of the later form.
_EVENT_FIELDS = {
    **{
        f"involvedObject.{field}": f"regarding.{field}"
        for field in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": "reason",
    "reportingComponent": "reportingController",
    "source": "source",
    "type": "type",
}


_RBAC = (resources.ROLES, resources.ROLE_BINDINGS, resources.CLUSTER_ROLES, resources.CLUSTER_ROLE_BINDINGS)


@dataclass(frozen=True)
class View:
    """A kind that is another kind's objects in another form: ``of`` is the one that is stored.

    ``read`` makes this form of a stored document, ``write`` the other way.
    """

    of: Resource
    read: Callable[[Document], Document]
    write: Callable[[Document], Document]


@dataclass(frozen=True)
class Part:
    """A subresource that is no view of the object itself: what it takes, and what can be done with it."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind as the server treats it.

    ``status`` says whether it has a status subresource, and who fills the status at creation: ``server`` for kinds
    whose creator may not say anything about it. ``generation`` says what change counts as one: of the ``spec``, or
    of ``all`` but the metadata, of which the labels count. ``selectable`` are the field selectors beside name and
    namespace. ``deprecated`` is the warning that every answer about it carries. ``put_needs_version``: who replaces one
    must say which version.
    ``parts`` are subresources that somebody else serves than `verbs`. ``asked``: it is a question, answered and not
    stored. ``returns_deleted``: the answer to a DELETE is the object, and not a Status that says that it has gone.
    """

    resource: Resource
    strategy: Strategy
    columns: tuple[Column, ...]
    allocator: Allocator | None = None
    status: Literal["none", "server", "creator"] = "server"
    generation: Literal["none", "spec", "all"] = "none"
    selectable: tuple[str, ...] = ()
    scalable: bool = False
    finalizable: bool = False
    put_creates: bool = False
    put_needs_version: bool = False
    parts: tuple[Part, ...] = ()
    asked: bool = False
    returns_deleted: bool = False
    view: View | None = None
    deprecated: str = ""
    categories: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.resource.kind

    @property
    def has_status(self) -> bool:
        return self.status != "none"

    @cached_property
    def subresources(self) -> tuple[str, ...]:
        names = (("status", self.has_status), ("scale", self.scalable), ("finalize", self.finalizable))
        return tuple(name for name, served in names if served)

    @cached_property
    def prefix(self) -> str:
        """Where its objects lie in the storage."""
        return f"/objects/{(self.view.of if self.view else self.resource).qualified}/"

    @cached_property
    def head(self) -> bytes:
        """How each of its objects begins, as it is stored and as it is sent: ``{"apiVersion":…,"metadata":{``."""
        head = encode({"apiVersion": self.resource.api_version, "kind": self.name, "metadata": {}})
        return head[:-2]

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.resource.namespaced else f"{self.prefix}{name}"

    def within(self, namespace: str) -> str:
        """The prefix of one namespace's objects, of all when ``namespace`` is empty."""
        return f"{self.prefix}{namespace}/" if namespace and self.resource.namespaced else self.prefix


class Kinds:
    """The table, and the ways to look into it."""

    def __init__(self, rows: Iterable[Kind]) -> None:
        self.rows = tuple(rows)
        self._by_plural = {(k.resource.group, k.resource.version, k.resource.plural): k for k in self.rows}
        self._by_kind = {(k.resource.api_version, k.resource.kind): k for k in self.rows}
        self._by_prefix = {k.prefix: k for k in self.stored}

    @property
    def stored(self) -> tuple[Kind, ...]:
        """Without those that are another form of one that is here too."""
        return tuple(kind for kind in self.rows if kind.view is None)

    def by_plural(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_plural.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        return self._by_kind.get((api_version, kind))

    def by_key(self, key: str) -> Kind | None:
        """The kind of the object under a storage key."""
        parts = key.split("/", 3)
        return self._by_prefix.get(f"/objects/{parts[2]}/") if len(parts) == 4 else None

    def __getitem__(self, resource: Resource) -> Kind:
        return self._by_kind[resource.api_version, resource.kind]

    @property
    def groups(self) -> dict[tuple[str, str], list[Kind]]:
        """The kinds of each (group, version), in the order of the table."""
        found: dict[tuple[str, str], list[Kind]] = {}
        for kind in self.rows:
            found.setdefault((kind.resource.group, kind.resource.version), []).append(kind)
        return found


_POD_FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
)
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
_POD_PROXY = Part("proxy", "PodProxyOptions", _PROXY_VERBS)
_SERVICE_PROXY = Part("proxy", "ServiceProxyOptions", _PROXY_VERBS)
_TOKEN = Part("token", "TokenRequest", ("create",), "authentication.k8s.io")


def standard_kinds(service_allocator: Allocator) -> Kinds:
    """The kinds of a Fairway server, with each kind's rules and columns."""

    def row(resource: Resource, **facts: Any) -> Kind:
        return Kind(
            resource=resource,
            strategy=strategy(resource),
            columns=COLUMNS[resource.api_version, resource.kind],
            **facts,
        )

    return Kinds(
        (
            row(resources.NAMESPACES, status="creator", finalizable=True, selectable=("status.phase",)),
            row(resources.NODES, status="creator", selectable=("spec.unschedulable",)),
            row(
                resources.PODS,
                generation="spec",
                parts=(_POD_PROXY,),
                returns_deleted=True,
                selectable=_POD_FIELDS,
                categories=("all",),
            ),
            row(
                resources.SERVICES,
                allocator=service_allocator,
                parts=(_SERVICE_PROXY,),
                returns_deleted=True,
                selectable=("spec.clusterIP", "spec.type"),
                put_creates=True,
                categories=("all",),
            ),
            row(
                resources.ENDPOINTS,
                status="none",
                put_creates=True,
                deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
            ),
            row(resources.CONFIG_MAPS, status="none"),
            row(resources.SECRETS, status="none", selectable=("type",)),
            row(resources.SERVICE_ACCOUNTS, status="none", parts=(_TOKEN,), returns_deleted=True),
            row(resources.EVENTS, status="none", put_creates=True, selectable=tuple(_EVENT_FIELDS)),
            row(
                resources.EVENTS_V1,
                status="none",
                put_creates=True,
                selectable=tuple(_EVENT_FIELDS.values()),
                view=View(resources.EVENTS, events.to_later, events.to_stored),
            ),
            row(resources.LEASES, status="none", put_creates=True, put_needs_version=True),
            row(resources.ENDPOINT_SLICES, status="none", generation="all"),
            row(resources.NETWORK_POLICIES, status="none", generation="spec"),
            row(resources.SERVICE_CIDRS),
            row(resources.IP_ADDRESSES, status="none"),
            row(resources.DEPLOYMENTS, generation="spec", scalable=True, categories=("all",)),
            row(
                resources.REPLICA_SETS,
                generation="spec",
                scalable=True,
                selectable=("status.replicas",),
                categories=("all",),
            ),
            *(row(resource, status="none", put_creates=True) for resource in _RBAC),
        )
    )


def field(document: Document, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    found: Any = document
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found
