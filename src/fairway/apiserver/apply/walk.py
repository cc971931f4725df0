"""Documents seen through their schema: which fields one has, how two differ, how one merges into another. Pure.

What is one field is the schema's to say: a Service's ``selector`` is replaced as a whole, its ``ports`` are a list of
items known by port and protocol, ``finalizers`` is a set of values (`Shape.grain`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fairway.apiserver.apply.fields import LEAF, SELF, Fields, compact, is_member, key_step, text_of
from fairway.apiserver.schema import UNKNOWN, Shape
from fairway.objects.codec import Document

# The one part of a key that may be left out; the published schemas give no defaults.
_KEY_DEFAULTS = {"protocol": "TCP"}
Part = tuple[Shape, Any]


class Unfit(ValueError):
    """A configuration that cannot be applied; the message names the field and what is wrong with it."""


@dataclass(frozen=True)
class Changes:
    """How one document became another."""

    added: Fields
    removed: Fields
    modified: Fields

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.modified)


def _parts(shape: Shape, value: Any) -> dict[str, Part] | None:
    """What a value is made of, by step; None for what is one field."""
    grain = shape.grain
    if grain == "whole":
        return None
    if isinstance(value, dict):
        if grain == "fields":
            known = shape.fields
            return {f"f:{name}": (known.get(name, UNKNOWN), one) for name, one in value.items()}
        return {f"f:{name}": (shape.item, one) for name, one in value.items()} if grain == "map" else None
    return _items(shape, value) if isinstance(value, list) and grain in ("keyed", "values") else None


def _items(shape: Shape, value: list[Any]) -> dict[str, Part] | None:
    found: dict[str, Part] = {}
    for one in value:
        step = _step_of(shape, one)
        if step is None:
            return None
        if step in found:
            # Two of a key: nothing tells them apart, so they are one field together.
            earlier = found[step]
            found[step] = UNKNOWN, [*(earlier[1] if earlier[0] is UNKNOWN else [earlier[1]]), one]
        else:
            found[step] = shape.item, one
    return found


def _step_of(shape: Shape, item: Any) -> str | None:
    """The step to an item of a list, None when it lacks a part of its key."""
    if shape.grain == "values":
        return f"v:{compact(item)}"
    if not isinstance(item, dict):
        return None
    values = tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in shape.list_keys)
    if any(value is None or isinstance(value, (dict, list)) for value in values):
        return None
    return key_step(shape.list_keys, values)


def fields_of(shape: Shape, value: Any, *, containers: bool = False) -> Fields:
    """The fields that a value has. ``containers`` counts lists and maps themselves too, beside what is in them."""
    if shape.grain == "fields" and isinstance(value, dict):
        # Every create comes through here: most fields are whole, and need no more than their name.
        known = shape.steps
        return {
            step: LEAF if below.grain == "whole" else fields_of(below, value[name], containers=containers)
            for name, (step, below) in [(name, known.get(name) or (f"f:{name}", UNKNOWN)) for name in value]
        }
    parts = _parts(shape, value)
    if not parts:
        return LEAF
    found: Fields = {step: _fields_in(step, part, containers) for step, part in parts.items()}
    if containers:
        found[SELF] = LEAF
    return found


def _fields_in(step: str, part: Part, containers: bool) -> Fields:
    """The fields of a part; an item of a list is one itself."""
    found = fields_of(*part, containers=containers)
    return {SELF: LEAF, **found} if found and step[0] == "k" else found


def compare(shape: Shape, old: Any, new: Any) -> Changes:
    """What is different in ``new``; both must be objects."""
    added: Fields = {}
    removed: Fields = {}
    modified: Fields = {}
    if isinstance(old, dict) and isinstance(new, dict):
        # Most of it is the same: the steps to that are not even made.
        same = [name for name, value in new.items() if name in old and old[name] == value]
        old, new = _without(old, same), _without(new, same)
    before, after = _parts(shape, old) or {}, _parts(shape, new) or {}
    for step, part in after.items():
        if step not in before:
            added[step] = _fields_in(step, part, True)
            continue
        below, value = part
        was_shape, was = before[step]
        if was == value:
            continue
        if was_shape is not below or _parts(below, was) is None or _parts(below, value) is None:
            modified[step] = LEAF
            continue
        deeper = compare(below, was, value)
        for fields, found in ((added, deeper.added), (removed, deeper.removed), (modified, deeper.modified)):
            if found:
                fields[step] = found
    removed.update((step, _fields_in(step, part, True)) for step, part in before.items() if step not in after)
    return Changes(added, removed, modified)


def _without(document: Document, names: Collection[str]) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def merge(shape: Shape, live: Any, applied: Any) -> Any:
    """``live`` with everything that ``applied`` says; neither is changed."""
    before, after = _parts(shape, live), _parts(shape, applied)
    if before is None or after is None:
        return applied
    if isinstance(applied, list):
        return _merge_lists(before, after)
    merged = dict(live)
    for step, (below, value) in after.items():
        merged[step[2:]] = merge(below, live[step[2:]], value) if step in before else value
    return merged


def _merge_lists(before: dict[str, Part], after: dict[str, Part]) -> list[Any]:
    """The items of both: in the order of ``after``, the others where they stand between them."""
    waiting = dict(after)
    found: list[Any] = []

    def emit() -> str:
        step = next(iter(waiting))
        below, value = waiting.pop(step)
        merged = step in before and before[step][0] is not UNKNOWN
        found.append(merge(below, before[step][1], value) if merged else value)
        return step

    for step, (below, value) in before.items():
        if step not in after:
            found.extend(value if below is UNKNOWN else [value])
        elif step in waiting:
            while emit() != step:
                pass
    while waiting:
        emit()
    return found


def remove(shape: Shape, value: Any, gone: Fields) -> Any:
    """A value without the members of a set; a container that this empties goes too (None)."""
    parts = _parts(shape, value)
    if not parts:
        return value
    left: dict[str, Any] = {}
    for step, (below, one) in parts.items():
        node = gone.get(step)
        kept = one if node is None else None if is_member(node) else remove(below, one, node)
        if kept is not None:
            left[step] = kept
    if not left:
        return None
    if isinstance(value, dict):
        return {step[2:]: one for step, one in left.items()}
    return [item for step, one in left.items() for item in (one if parts[step][0] is UNKNOWN else [one])]


def named(shape: Shape, fields: Fields) -> Fields:
    """A set with every struct field on the way to a member as a member itself."""
    if not fields:
        return fields
    found: Fields = {}
    for step, node in fields.items():
        below = shape.fields.get(step[2:]) if step[0] == "f" and shape.grain == "fields" else None
        deeper = named(below or _item(shape, step), node)
        found[step] = {SELF: LEAF, **deeper} if below is not None and deeper else deeper
    return found


def _item(shape: Shape, step: str) -> Shape:
    return shape.item if step != SELF and shape.grain in ("keyed", "values", "map") else UNKNOWN


def check(shape: Shape, value: Any, path: str = "") -> None:
    """Raises `Unfit` for a field without a schema, and for items of a list that cannot be told apart."""
    if isinstance(value, dict):
        for name, one in value.items():
            if shape.holds == "object" and name not in shape.fields:
                raise Unfit(f"{path}.{name}: field not declared in schema")
            below = shape.fields.get(name) or (shape.item if shape.holds == "map" else UNKNOWN)
            check(below, one, f"{path}.{name}")
    elif isinstance(value, list) and shape.holds == "list":
        if shape.grain != "whole":
            _check_items(shape, value, path)
        for index, one in enumerate(value):
            check(shape.item, one, f"{path}[{index}]")


def _check_items(shape: Shape, value: list[Any], path: str) -> None:
    seen: set[str] = set()
    for index, one in enumerate(value):
        step = _step_of(shape, one)
        if step is None:
            keys = ", ".join(shape.list_keys)
            raise Unfit(f"{path}[{index}]: an item of this list must have its key fields: {keys}")
        if step in seen:
            raise Unfit(f"{path}: duplicate entries for key {text_of(step)}")
        seen.add(step)
