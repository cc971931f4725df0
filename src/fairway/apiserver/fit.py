"""Whether a document fits its schema, said at once for the many that do.

`decoding` finds out what is wrong with a document by walking it in Python. Nearly every document has nothing wrong
with it, and of those msgspec says so ten to twenty times faster: for each kind a struct is made that refuses whatever
`decoding` would complain about, and sometimes more. So a yes is certain, and a no only sends a document the long way::

    document ─▶ fits? ─ yes ─▶ no unknown fields, no type errors
                      └ no ──▶ decoding walks it, and says what is wrong, if anything
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec

from fairway.apiserver.schema import Shape
from fairway.objects.codec import Document

_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z"
_QUANTITY = r"^[0-9]{1,9}(m|k|M|G|Ki|Mi|Gi)?\Z"


def _text(pattern: str) -> Any:
    return Annotated[str, msgspec.Meta(pattern=pattern)]


_INT32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_SCALARS: dict[str, Any] = {"boolean": bool, "string": str, "number": int | float}


class _Unbounded(Exception):
    """A type that contains itself: no struct can be made of it, its documents are walked."""


def fits(shape: Shape, document: Document) -> bool:
    """Whether the document certainly has only fields of the shape, with values of their types."""
    type_ = _type_of_root(shape)
    if type_ is None:
        return False
    try:
        msgspec.convert(document, type_)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


@cache
def _type_of_root(shape: Shape) -> Any:
    try:
        return _type(shape, (), {})
    except _Unbounded:
        return None


def _type(shape: Shape, inside: tuple[str, ...], known: dict[str, Any]) -> Any:
    match shape.holds:
        case "object":
            return _struct(shape, inside, known)
        case "map":
            return dict[str, _type(shape.item, inside, known) | None]  # type: ignore[misc]
        case "list":
            return list[_type(shape.item, inside, known)]  # type: ignore[misc]
        case "int-or-string":
            return _INT32 | str
        case "quantity":
            return _text(_QUANTITY)
        case "time":
            return _text(_TIME)
        case "anything":
            return Any
    return _scalar(shape)


def _scalar(shape: Shape) -> Any:
    if shape.schema.get("format") == "byte":
        return _text(_BASE64)
    if shape.schema["type"] == "integer":
        return _INT64 if shape.go_type == "int64" else _INT32
    return _SCALARS[shape.schema["type"]]


def _struct(shape: Shape, inside: tuple[str, ...], known: dict[str, Any]) -> Any:
    name = shape.name
    if name in inside:
        raise _Unbounded(name)
    if name and name in known:
        return known[name]
    fields = [
        # Names of Kubernetes (`default`, `$ref`) need not be names of Python.
        (f"field_{index}", _type(below, (*inside, name) if name else inside, known) | None, None)
        for index, below in enumerate(shape.fields.values())
    ]
    rename = {f"field_{index}": field for index, field in enumerate(shape.fields)}
    struct = msgspec.defstruct("Fitting", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    if name:
        known[name] = struct
    return struct
