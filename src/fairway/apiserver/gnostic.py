"""An OpenAPI 2 document as protobuf: the ``openapi.v2.Document`` of google/gnostic, which is frozen since 2017.

kubectl before 1.24 reads no other form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import yaml

from fairway.apiserver.wire import number, part
from fairway.objects.codec import Document


def document(openapi: Document) -> bytes:
    """The whole of an OpenAPI 2 document: swagger, info, paths and definitions."""
    info = openapi["info"]
    return b"".join(
        (
            _text(1, openapi["swagger"]),
            part(2, _text(1, info["title"]) + _text(2, info["version"])),
            part(8, _named(2, openapi["paths"], _path_item)),
            part(9, _named(1, openapi["definitions"], _schema)),
        )
    )


def _text(field: int, value: str | None) -> bytes:
    return part(field, value.encode()) if value else b""


def _texts(field: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(field, value) for value in values)


def _flag(field: int, value: bool) -> bytes:
    return number(field, int(value))


def _named(field: int, values: Document, encode: Callable[[Any], bytes]) -> bytes:
    """A map is a list of messages of a name and a value."""
    return b"".join(part(field, _text(1, name) + part(2, encode(value))) for name, value in values.items())


def _any(value: Any) -> bytes:
    """A value without a type of its own travels as YAML."""
    return _text(2, yaml.safe_dump(value, default_flow_style=False))


def _extensions(field: int, holder: Document) -> bytes:
    return _named(field, {name: value for name, value in holder.items() if name.startswith("x-")}, _any)


def _schema(schema: Document) -> bytes:
    properties = part(25, _named(1, schema["properties"], _schema)) if "properties" in schema else b""
    values = schema.get("additionalProperties")
    return b"".join(
        (
            _text(1, schema.get("$ref")),
            _text(2, schema.get("format")),
            _text(4, schema.get("description")),
            _texts(19, schema.get("required", ())),
            part(21, part(1, _schema(values))) if isinstance(values, dict) else b"",
            part(22, _text(1, schema["type"])) if "type" in schema else b"",
            part(23, part(1, _schema(schema["items"]))) if "items" in schema else b"",
            properties,
            _extensions(31, schema),
        )
    )


_METHOD_FIELDS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path_item(item: Document) -> bytes:
    return b"".join(part(_METHOD_FIELDS[method], _operation(operation)) for method, operation in item.items())


def _operation(operation: Document) -> bytes:
    return b"".join(
        (
            _texts(1, operation["tags"]),
            _text(3, operation["description"]),
            _text(5, operation["operationId"]),
            _texts(6, operation["produces"]),
            _texts(7, operation["consumes"]),
            b"".join(part(8, part(1, _parameter(one))) for one in operation["parameters"]),
            part(9, _named(1, operation["responses"], _response)),
            _extensions(13, operation),
        )
    )


def _parameter(parameter: Document) -> bytes:
    name, place, needed = parameter["name"], parameter["in"], parameter.get("required", False)
    if place == "body":
        schema = part(5, _schema(parameter["schema"]))
        return part(1, _text(2, name) + _text(3, place) + _flag(4, needed) + schema)
    # field 3 of the choice is a query parameter, field 4 one in the path; name and type differ in their numbers
    type_field = 6 if place == "query" else 5
    body = _flag(1, needed) + _text(2, place) + _text(4, name) + _text(type_field, parameter["type"])
    return part(2, part(3 if place == "query" else 4, body))


def _response(response: Document) -> bytes:
    schema = part(2, part(1, _schema(response["schema"])))
    return part(1, _text(1, response["description"]) + schema)
