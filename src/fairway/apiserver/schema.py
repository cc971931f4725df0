"""The types of the API's fields: which fields there are, what they hold, and how a patch merges them.

::

    shape("v1", "Service") ─ fields ─▶ spec ─ fields ─▶ ports ─ item ─▶ fields ─▶ port: int32
                                                        merge key: port

Built from the schemas in ``schemas/`` (``make openapi``). `unknown_fields` and `type_errors` are what a real server
says of a document before it looks at any value, `pruned` is what it reads of it; `Shape.merge_key` and
`Shape.patch_strategy` are what a strategic merge patch asks for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

from fairway.apiserver.fit import fits
from fairway.apiserver.validation.formats import parse_quantity
from fairway.objects.codec import Document

REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TIMES = (_META + "Time", _META + "MicroTime")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BASE64 = re.compile("[A-Za-z0-9+/]*={0,2}", re.ASCII)
_GO_TYPES = {"boolean": "bool", "string": "string", "number": "float64", "integer": "int32"}
_LIMITS = {"int32": 2**31, "int64": 2**63}

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


def unknown_fields(api_version: str, kind: str, document: Document) -> list[str]:
    """The paths of fields that the kind does not have: ``spec.ports[0].prot``."""
    root = shape(api_version, kind)
    return [] if root is None or fits(root, document) else unknown_in(root, document)


def unknown_in(root: Shape, document: Document) -> list[str]:
    """The same by a walk through the document: what `fits` must agree with."""
    found: list[str] = []
    _unknown(root, document, "", found)
    return found


def pruned(api_version: str, kind: str, document: Document) -> Document:
    """The document without the fields that the kind does not have; the same one if it has no others."""
    root = shape(api_version, kind)
    return document if root is None or fits(root, document) else _pruned(root, document)


def _pruned(here: Shape, value: Any) -> Any:
    if isinstance(value, dict) and here.holds == "object":
        return {field: _pruned(here.fields[field], one) for field, one in value.items() if field in here.fields}
    if isinstance(value, dict) and here.holds == "map":
        return {field: _pruned(here.item, one) for field, one in value.items()}
    if isinstance(value, list) and here.holds == "list":
        return [_pruned(here.item, one) for one in value]
    return value


def strict_error(problems: list[str]) -> str:
    """What the server says about fields that are unknown, or there twice, when they are refused."""
    return "strict decoding error: " + ", ".join(problems)


def _unknown(here: Shape, value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, dict) and here.holds == "object":
        for field, one in value.items():
            below = f"{path}.{field}" if path else field
            if field in here.fields:
                _unknown(here.fields[field], one, below, found)
            else:
                found.append(below)
    elif isinstance(value, dict) and here.holds == "map":
        for field, one in value.items():
            _unknown(here.item, one, f"{path}.{field}", found)
    elif isinstance(value, list) and here.holds == "list":
        for index, one in enumerate(value):
            _unknown(here.item, one, f"{path}[{index}]", found)


def type_errors(api_version: str, kind: str, document: Document) -> list[str]:
    """What the real server says of values that its types cannot hold; it answers with the first, code 400.

    A field that is null counts as not there; null in a list is refused (the real server takes it as an empty value).

    ``Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go struct field
    ServicePort.spec.ports.port of type int32``
    """
    root = shape(api_version, kind)
    found = [] if root is None or fits(root, document) else mistyped_in(root, document)
    version = api_version.rpartition("/")[2]
    return [f'{kind} in version "{version}" cannot be handled as a {kind}: {problem}' for problem in found]


def mistyped_in(root: Shape, document: Document) -> list[str]:
    """The same by a walk through the document, without the kind: what `fits` must agree with."""
    found: list[str] = []
    _mistyped(root, document, _Place("", ""), found)
    return found


@dataclass(frozen=True)
class _Place:
    """Where a value lies, as Go's decoder says it: the innermost struct, and the path without indexes."""

    struct: str
    path: str

    def below(self, struct: str, field: str) -> _Place:
        return _Place(struct, f"{self.path}.{field}" if self.path else field)

    def unfit(self, value: Any, go_type: str) -> str:
        where = f"struct field {self.struct}.{self.path}" if self.path else "value"
        return f"json: cannot unmarshal {_word(value)} into Go {where} of type {go_type}"


def _word(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number" if value == int(value) and abs(value) < 2**31 else f"number {value}"
        case str():
            return "string"
        case list():
            return "array"
        case None:
            return "null"
        case _:
            return "object"


def _mistyped(here: Shape, value: Any, place: _Place, found: list[str]) -> None:
    match here.holds:
        case "object" if isinstance(value, dict):
            struct = here.name.rpartition(".")[2]
            for field, one in value.items():
                if field in here.fields and one is not None:
                    _mistyped(here.fields[field], one, place.below(struct, field), found)
        case "map" if isinstance(value, dict):
            for one in value.values():
                if one is not None:
                    _mistyped(here.item, one, place, found)
        case "list" if isinstance(value, list):
            for one in value:
                _mistyped(here.item, one, place, found)
        case "object" | "map" | "list":
            found.append(place.unfit(value, here.go_type))
        case _:
            found += _unfit_scalar(here, value, place)


def _unfit_scalar(here: Shape, value: Any, place: _Place) -> list[str]:
    match here.holds:
        case "scalar" if not _fits(here.schema.get("type", ""), here.go_type, value):
            return [place.unfit(value, here.go_type)]
        case "scalar" if here.schema.get("format") == "byte" and (problem := _not_base64(value)):
            return [problem]
        case "int-or-string" if not (isinstance(value, str) or _fits("integer", "int32", value)):
            return [f"json: cannot unmarshal {_word(value)} into Go value of type int32"]
        case "time" if not isinstance(value, str):
            return [place.unfit(value, "string")]
        case "time" if not is_time(value):
            return [f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"']
        case "quantity" if not _is_quantity(value):
            return [
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                f" ({place.path}: {json.dumps(value)})"
            ]
    return []


def _not_base64(text: str) -> str:
    """What Go's decoder says of text that is not base64."""
    stripped = text.replace("\r", "").replace("\n", "")
    match = _BASE64.match(stripped)
    end = match.end() if match else 0
    if end == len(stripped) and len(stripped) % 4 == 0:
        return ""
    return f"illegal base64 data at input byte {end if end < len(stripped) else end // 4 * 4}"


def is_time(text: str) -> bool:
    """Whether it is a time as metadata has it (RFC 3339)."""
    return _TIME.fullmatch(text) is not None


def _fits(type_: str, go_type: str, value: Any) -> bool:
    match type_:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "integer":
            limit = _LIMITS.get(go_type, 2**63)
            return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _is_quantity(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and parse_quantity(value) is not None
