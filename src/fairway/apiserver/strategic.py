"""Strategic merge patches: a merge patch that knows which lists are sets of things with a key. Pure.

What each list is comes from the schema (`fairway.apiserver.schema`), because it depends on the field's type: a
Service's ``ports`` are known by ``port``, a container's by ``containerPort``, an EndpointSlice's are one value that is
replaced as a whole. Everything the schema says nothing about merges as in RFC 7386.

    {"spec": {"ports": [{"port": 80, "nodePort": 30080}]}}        changes one port and keeps the others
    {"spec": {"ports": [{"$patch": "delete", "port": 80}]}}       removes one
    {"spec": {"ports": [{"$patch": "replace"}, {"port": 81}]}}    has these from now on
    {"spec": {"$setElementOrder/ports": [{"port": 81}, {"port": 80}], ...}}
    {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}
    {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
"""

from __future__ import annotations

from typing import Any

from fairway.apiserver.schema import UNKNOWN, Shape
from fairway.objects.status import bad_request

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def strategic_merge(shape: Shape | None, document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The document with the patch applied; raises `ApiError` for a directive that makes no sense."""
    return _merge_map(document, patch, shape or UNKNOWN)


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
            _merge_field(merged, name, value, shape.fields.get(name, UNKNOWN))
    for name, order in orders.items():
        if isinstance(merged.get(name), list):
            merged[name] = _ordered(merged[name], _list(order, _ORDER + name), shape.fields.get(name, UNKNOWN))
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
    elif isinstance(value, list) and "merge" in shape.patch_strategy:
        old = merged.get(name)
        merged[name] = _merge_list(old if isinstance(old, list) else [], value, shape)
    else:
        merged[name] = value


def _merge_list(old: list[Any], patch: list[Any], shape: Shape) -> list[Any]:
    if not shape.merge_key:
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
    if not isinstance(item, dict) or shape.merge_key not in item:
        raise bad_request(f"an element of the patch has no merge key: {item!r} must have the field {shape.merge_key}")
    places = [
        place
        for place, one in enumerate(merged)
        if isinstance(one, dict) and one.get(shape.merge_key) == item[shape.merge_key]
    ]
    if item.get(_DIRECTIVE) == "delete":
        for place in reversed(places):
            del merged[place]
        return
    base = merged[places[0]] if places else {}
    changed = _merge_map(base, item, shape.item)
    if places:
        merged[places[0]] = changed
    else:
        merged.append(changed)


def _ordered(values: list[Any], order: list[Any], shape: Shape) -> list[Any]:
    """The elements in the order that the patch names; those that only the server has keep their neighbours."""

    def identity(one: Any) -> Any:
        return one.get(shape.merge_key) if shape.merge_key and isinstance(one, dict) else one

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
