"""The types of the API's fields: which fields there are, what they hold, and how a patch merges them.

::

    shape("v1", "Service") ─ fields ─▶ spec ─ fields ─▶ ports ─ item ─▶ fields ─▶ port: int32
                                                        merge key: port

Built from the schemas in ``schemas/`` (``make openapi``). `decoding` holds documents against them; `Shape.merge_key`
and `Shape.patch_strategy` are what a strategic merge patch asks for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TIMES = (_META + "Time", _META + "MicroTime")
_GO_TYPES = {"boolean": "bool", "string": "string", "number": "float64", "integer": "int32"}

Holds = Literal["object", "map", "list", "scalar", "int-or-string", "quantity", "time", "anything"]
# How the owners of fields see a value: an object with fields, a map, a list of items with a key, a set of values, or
# one field as a whole.
Grain = Literal["fields", "map", "keyed", "values", "whole"]
Schema = dict[str, Any]


@cache
def definitions() -> dict[str, Schema]:
    """Every schema by its name (``io.k8s.api.core.v1.Service``); shared, not to be changed."""
    found: dict[str, Schema] = {}
    for file in (resources.files("fairway.apiserver") / "schemas").iterdir():
        if file.name.endswith(".json"):
            found |= json.loads(file.read_text())
    return found


@cache
def _kinds() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for name, schema in definitions().items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            group = f"{kind['group']}/" if kind["group"] else ""
            found[f"{group}{kind['version']}", kind["kind"]] = name
    return found


def name_of(api_version: str, kind: str) -> str:
    """``io.k8s.api.core.v1.Service``; raises `KeyError` for a kind without a schema."""
    return _kinds()[api_version, kind]


@dataclass(frozen=True, eq=False)
class Shape:
    """What one field, or a whole object, may hold: ``schema`` as published, ``name`` of its type if it has one."""

    schema: Schema
    name: str = ""

    @cached_property
    def _type(self) -> Schema:
        return definitions()[self.name] if self.name else self.schema

    @cached_property
    def holds(self) -> Holds:
        type_ = self._type
        special: dict[str, Holds] = {_INT_OR_STRING: "int-or-string", _QUANTITY: "quantity"}
        if self.name in special:
            return special[self.name]
        if self.name in _TIMES:
            return "time"
        if "properties" in type_:
            return "object"
        if isinstance(type_.get("additionalProperties"), dict):
            return "map"
        if type_.get("type") == "array":
            return "list"
        return "scalar" if type_.get("type") in _GO_TYPES else "anything"

    @cached_property
    def fields(self) -> dict[str, Shape]:
        """The fields of an object; empty for everything else."""
        return {field: _shape_of(schema) for field, schema in self._type.get("properties", {}).items()}

    @cached_property
    def item(self) -> Shape:
        """What a list or a map holds."""
        return _shape_of(self._type["items" if self.holds == "list" else "additionalProperties"])

    @property
    def merge_key(self) -> str:
        """The field that tells the items of this list apart in a strategic merge patch; empty: it is replaced."""
        return str(self.schema.get("x-kubernetes-patch-merge-key", ""))

    @property
    def patch_strategy(self) -> frozenset[str]:
        """``merge`` for a list that is merged, ``retainKeys`` for an object that a patch replaces field by field."""
        return frozenset(filter(None, self.schema.get("x-kubernetes-patch-strategy", "").split(",")))

    @cached_property
    def grain(self) -> Grain:
        """What of it can have owners of its own in server-side apply."""
        if self.holds in ("object", "map"):
            atomic = "atomic" in (self.schema.get("x-kubernetes-map-type"), self._type.get("x-kubernetes-map-type"))
            return "whole" if atomic else "fields" if self.holds == "object" else "map"
        if self.holds == "list":
            grains: dict[str, Grain] = {"map": "keyed", "set": "values"}
            return grains.get(self.schema.get("x-kubernetes-list-type", ""), "whole")
        return "whole"

    @cached_property
    def steps(self) -> dict[str, tuple[str, Shape]]:
        """The fields of an object with the steps to them in a set of fields: ``f:spec``."""
        return {name: (f"f:{name}", below) for name, below in self.fields.items()}

    @cached_property
    def list_keys(self) -> tuple[str, ...]:
        """The fields that tell the items of a list apart, where its `grain` is ``keyed``."""
        return tuple(self.schema.get("x-kubernetes-list-map-keys", ()))

    @cached_property
    def go_type(self) -> str:
        """The type as a decoding error of the real server names it."""
        if self.name:
            return ".".join(self.name.split(".")[-2:])
        if self.holds == "list":
            return f"[]{self.item.go_type}"
        if self.holds == "map":
            return f"map[string]{self.item.go_type}"
        return str(self.schema.get("format") or _GO_TYPES.get(self.schema.get("type", ""), "object"))


def _shape_of(schema: Schema) -> Shape:
    return Shape(schema, schema.get("$ref", "").removeprefix(REF))


@cache
def shape(api_version: str, kind: str) -> Shape | None:
    """The shape of a kind; None for one without a schema."""
    name = _kinds().get((api_version, kind))
    return Shape(definitions()[name], name) if name else None


# Of something that no schema tells about.
UNKNOWN = Shape({})


def merge_strategy(api_version: str, kind: str, path: str) -> Shape | None:
    """The shape of the field at a path without indexes (``spec.ports``), for its ``merge_key`` and ``patch_strategy``.

    None when there is no such field. Who walks a whole patch starts from `shape` and goes along ``fields`` and
    ``item`` instead.
    """
    found = shape(api_version, kind)
    for field in path.split("."):
        while found is not None and found.holds in ("list", "map"):
            found = found.item
        found = found.fields.get(field) if found is not None else None
    return found
