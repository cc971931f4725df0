"""What the real server says of a document before it looks at any value: fields nobody knows, values of wrong types.

`unknown_fields` and `type_errors` name them, `pruned` is what the server reads of a document in spite of them. Each
asks `fit` first, which says yes at once to nearly every document, and only walks those that are left.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from fairway.apiserver.fit import fits
from fairway.apiserver.schema import Shape, shape
from fairway.apiserver.validation.formats import parse_quantity
from fairway.objects.codec import Document

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BASE64 = re.compile("[A-Za-z0-9+/]*={0,2}", re.ASCII)
_LIMITS = {"int32": 2**31, "int64": 2**63}


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
