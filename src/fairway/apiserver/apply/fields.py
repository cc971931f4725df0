"""Sets of fields as tries, in the very form that goes over the wire (FieldsV1). Pure.

    {"f:spec": {"f:type": {}, "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}}}

A step is ``f:`` a field or the key of a map, ``k:`` an item of a list by its key, ``v:`` a value of a set, ``i:`` an
index. A node without children is a member of the set; one with children is a member if it has the child ``.``. The
empty trie is the empty set. Tries are shared between sets and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

Fields = dict[str, "Fields"]

SELF = "."
LEAF: Fields = {}
_ONLY_SELF: Fields = {SELF: LEAF}
_PREFIXES = ("f:", "k:", "v:", "i:")


class FieldsError(ValueError):
    """A trie that is none; the message says what is wrong."""


def is_member(node: Fields) -> bool:
    """Whether the path that leads to a node is itself in the set."""
    return not node or SELF in node


def union(one: Fields, other: Fields) -> Fields:
    if not one or one is other:
        return other
    found = dict(one)
    for step, node in other.items():
        mine = found.get(step)
        found[step] = node if mine is None else mine if mine == node else union(mine or _ONLY_SELF, node or _ONLY_SELF)
    return found


def difference(one: Fields, other: Fields) -> Fields:
    """The members of one that are not in the other; what lies below a member of the other stays."""
    if not other:
        return one
    found: Fields = {}
    for step, node in one.items():
        if step not in other:
            found[step] = node
        elif step != SELF:
            _keep(found, step, difference(node or _ONLY_SELF, other[step] or _ONLY_SELF))
    return found


def intersection(one: Fields, other: Fields) -> Fields:
    found: Fields = {}
    for step, node in one.items():
        if step not in other:
            continue
        if step == SELF:
            found[SELF] = LEAF
        else:
            _keep(found, step, intersection(node or _ONLY_SELF, other[step] or _ONLY_SELF))
    return found


def _keep(found: Fields, step: str, node: Fields) -> None:
    """Put a node back that may have become empty, which means something else there than in the result of a function."""
    if node:
        found[step] = LEAF if node == _ONLY_SELF else node


def paths(fields: Fields, before: str = "") -> Iterator[str]:
    """The members as Kubernetes writes them, and in its order: ``.spec.ports[port=80,protocol="TCP"].name``."""
    steps = [step for step in sorted(fields) if step != SELF]
    # Of each level the members first, then what is below them: the order of fieldpath.Set.
    yield from (before + text_of(step) for step in steps if not fields[step] or SELF in fields[step])
    for step in steps:
        yield from paths(fields[step], before + text_of(step))


def text_of(step: str) -> str:
    kind, rest = step[:2], step[2:]
    if kind == "f:":
        return f".{rest}"
    if kind == "k:":
        return "[" + ",".join(f"{key}={compact(value)}" for key, value in json.loads(rest).items()) + "]"
    return f"[={rest}]" if kind == "v:" else f"[{rest}]"


def compact(value: Any) -> str:
    """JSON with its keys in order: one text for one value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


@lru_cache(maxsize=4096)
def key_step(names: tuple[str, ...], values: tuple[Any, ...]) -> str:
    """The step to an item of a list: ``k:{"port":80,"protocol":"TCP"}``."""
    return "k:" + compact(dict(zip(names, values, strict=True)))


def parse_fields(value: Any) -> Fields:
    """A trie that a client sent; raises `FieldsError`."""
    if not isinstance(value, dict):
        raise FieldsError(f"expected an object, got {type(value).__name__}")
    return {_parse_step(step): parse_fields(node) for step, node in value.items()}


def _parse_step(step: str) -> str:
    if step == SELF:
        return step
    if not step.startswith(_PREFIXES):
        raise FieldsError(f"unknown step {step!r}; expected one that begins with f:, k:, v: or i:")
    if step.startswith("f:"):
        return step
    try:
        content = json.loads(step[2:])
    except ValueError:
        raise FieldsError(f"the step {step!r} is not JSON behind its prefix") from None
    if step.startswith("k:") and not isinstance(content, dict):
        raise FieldsError(f"the step {step!r} must name the fields of a key")
    return step[:2] + compact(content)
