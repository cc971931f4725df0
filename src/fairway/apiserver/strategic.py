"""Strategic merge patches: a merge patch that knows which lists are sets of things with a key. Pure.

What each list is comes from a table of shapes, because it depends on the field's type: a Service's ``ports`` are
known by ``port``, a container's by ``containerPort``, an EndpointSlice's are one value that is replaced as a whole.
Everything the table does not mention merges as in RFC 7386: maps by field, lists as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.objects import resources
from fairway.objects.resources import Resource
from fairway.objects.status import bad_request

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


@dataclass(frozen=True)
class Shape:
    """How a field merges: ``key`` for a list of objects, ``values`` for a list that is a set of scalars."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    key: str = ""
    values: bool = False


PLAIN = Shape()


def _by(key: str, fields: Mapping[str, Shape] | None = None) -> Shape:
    return Shape(fields or {}, key=key)


_METADATA = Shape({"finalizers": Shape(values=True), "ownerReferences": _by("uid")})
_CONTAINER = {
    "ports": _by("containerPort"),
    "env": _by("name"),
    "volumeMounts": _by("mountPath"),
    "volumeDevices": _by("devicePath"),
}
_POD_SPEC = Shape(
    {
        "containers": _by("name", _CONTAINER),
        "initContainers": _by("name", _CONTAINER),
        "ephemeralContainers": _by("name", _CONTAINER),
        "volumes": _by("name"),
        "imagePullSecrets": _by("name"),
        "hostAliases": _by("ip"),
        "topologySpreadConstraints": _by("topologyKey"),
        "schedulingGates": _by("name"),
        "resourceClaims": _by("name"),
    }
)
_TEMPLATE = Shape({"metadata": _METADATA, "spec": _POD_SPEC})
_CONDITIONS = _by("type")
_WORKLOAD = {
    "metadata": _METADATA,
    "spec": Shape({"template": _TEMPLATE}),
    "status": Shape({"conditions": _CONDITIONS}),
}
_SHAPES: dict[str, Shape] = {
    resources.SERVICES.kind: Shape(
        {
            "metadata": _METADATA,
            "spec": Shape({"ports": _by("port")}),
            "status": Shape({"conditions": _CONDITIONS}),
        }
    ),
    resources.PODS.kind: Shape(
        {
            "metadata": _METADATA,
            "spec": _POD_SPEC,
            "status": Shape({"conditions": _CONDITIONS, "podIPs": _by("ip"), "hostIPs": _by("ip")}),
        }
    ),
    resources.NODES.kind: Shape(
        {
            "metadata": _METADATA,
            "spec": Shape({"podCIDRs": Shape(values=True)}),
            "status": Shape({"addresses": _by("type"), "conditions": _CONDITIONS}),
        }
    ),
    resources.NAMESPACES.kind: Shape({"metadata": _METADATA, "status": Shape({"conditions": _CONDITIONS})}),
    resources.DEPLOYMENTS.kind: Shape(_WORKLOAD),
    resources.REPLICA_SETS.kind: Shape(_WORKLOAD),
    "ServiceAccount": Shape({"metadata": _METADATA, "secrets": _by("name"), "imagePullSecrets": _by("name")}),
}
_OTHERS = Shape({"metadata": _METADATA})


def strategic_merge(resource: Resource, document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The document with the patch applied; raises `ApiError` for a directive that makes no sense."""
    return _merge_map(document, patch, _SHAPES.get(resource.kind, _OTHERS))


def _merge_map(old: dict[str, Any], patch: dict[str, Any], shape: Shape) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown {_DIRECTIVE} directive {directive!r}; expected replace, merge or delete")
    merged = dict(old)
    if _RETAIN in patch:
        retained = _list(patch[_RETAIN], _RETAIN)
        merged = {name: value for name, value in merged.items() if name in retained}
    orders = {name.removeprefix(_ORDER): value for name, value in patch.items() if name.startswith(_ORDER)}
    for name, value in patch.items():
        if name.startswith(_DELETE_PRIMITIVES):
            target = name.removeprefix(_DELETE_PRIMITIVES)
            unwanted = _list(value, name)
            merged[target] = [one for one in merged.get(target) or [] if one not in unwanted]
        elif not name.startswith("$"):
            _merge_field(merged, name, value, shape.fields.get(name, PLAIN))
    for name, order in orders.items():
        if isinstance(merged.get(name), list):
            merged[name] = _ordered(merged[name], _list(order, _ORDER + name), shape.fields.get(name, PLAIN))
    return merged


def _merge_field(merged: dict[str, Any], name: str, value: Any, shape: Shape) -> None:
    """One field of a patch, into ``merged``."""
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict):
        old = merged.get(name)
        merged[name] = _merge_map(old if isinstance(old, dict) else {}, value, shape)
        if value.get(_DIRECTIVE) == "delete":
            del merged[name]
    elif isinstance(value, list) and (shape.key or shape.values):
        old = merged.get(name)
        merged[name] = _merge_list(old if isinstance(old, list) else [], value, shape)
    else:
        merged[name] = value


def _merge_list(old: list[Any], patch: list[Any], shape: Shape) -> list[Any]:
    if shape.values:
        return [*old, *(value for value in patch if value not in old)]
    directives = [one for one in patch if isinstance(one, dict) and one.keys() == {_DIRECTIVE}]
    items = [one for one in patch if one not in directives]
    if any(one[_DIRECTIVE] == "replace" for one in directives):
        return items
    merged = list(old)
    for item in items:
        _merge_item(merged, item, shape)
    return merged


def _merge_item(merged: list[Any], item: Any, shape: Shape) -> None:
    """One element of a list patch, into ``merged``, found by its merge key."""
    if not isinstance(item, dict) or shape.key not in item:
        raise bad_request(f"an element of the patch has no merge key: {item!r} must have the field {shape.key}")
    places = [
        place for place, one in enumerate(merged) if isinstance(one, dict) and one.get(shape.key) == item[shape.key]
    ]
    if item.get(_DIRECTIVE) == "delete":
        for place in reversed(places):
            del merged[place]
        return
    base = merged[places[0]] if places else {}
    changed = _merge_map(base, item, Shape(shape.fields))
    if places:
        merged[places[0]] = changed
    else:
        merged.append(changed)


def _ordered(values: list[Any], order: list[Any], shape: Shape) -> list[Any]:
    """The elements in the order that the patch names; those that only the server has keep their neighbours."""

    def identity(one: Any) -> Any:
        return one.get(shape.key) if shape.key and isinstance(one, dict) else one

    places = {_hashable(identity(one)): place for place, one in enumerate(order)}
    named = sorted(
        (one for one in values if _hashable(identity(one)) in places),
        key=lambda one: places[_hashable(identity(one))],
    )
    waiting = iter(named)
    return [next(waiting) if _hashable(identity(one)) in places else one for one in values]


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list, got {type(value).__name__}")
    return value


def merge_keys(paths: Iterable[str], resource: Resource) -> dict[str, str]:
    """The merge key of each dotted path, empty for a list without one: what OpenAPI tells clients must agree."""
    found = {}
    for path in paths:
        shape = _SHAPES.get(resource.kind, _OTHERS)
        for part in path.split("."):
            shape = shape.fields.get(part, PLAIN)
        found[path] = shape.key
    return found
