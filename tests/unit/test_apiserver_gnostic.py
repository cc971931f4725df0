"""OpenAPI 2 as protobuf: read back by an independent reader of the wire format."""

from __future__ import annotations

import json

import yaml

from fairway.apiserver import gnostic
from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.kinds import standard_kinds
from fairway.apiserver.openapi import OpenApi

Fields = dict[int, list[bytes | int]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """The fields of one message, by number; content stays bytes."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
            found.setdefault(tag >> 3, []).append(value)
            continue
        assert tag & 7 == 2, f"wire type {tag & 7}"
        length, at = varint(data, at)
        assert at + length <= len(data)
        found.setdefault(tag >> 3, []).append(data[at : at + length])
        at += length
    return found


def part(message: Fields, number: int) -> Fields:
    [content] = message[number]
    assert isinstance(content, bytes)
    return fields(content)


def text(message: Fields, number: int) -> str:
    [content] = message[number]
    assert isinstance(content, bytes)
    return content.decode()


def named(message: Fields, number: int) -> dict[str, Fields]:
    found = {}
    for one in message.get(number, []):
        assert isinstance(one, bytes)
        pair = fields(one)
        found[text(pair, 1)] = part(pair, 2)
    return found


DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Fairway", "version": "1"},
    "paths": {
        "/things/{name}": {
            "patch": {
                "tags": ["core"],
                "description": "patch Thing",
                "operationId": "patchThing",
                "produces": ["application/json"],
                "consumes": ["application/merge-patch+json"],
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "type": "string"},
                    {"name": "dryRun", "in": "query", "type": "string"},
                    {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Thing"}},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Thing"}}},
                "x-kubernetes-action": "patch",
            }
        }
    },
    "definitions": {
        "Thing": {
            "type": "object",
            "description": "A thing. " * 40,
            "required": ["port"],
            "properties": {
                "port": {"type": "integer", "format": "int32"},
                "names": {"type": "array", "items": {"type": "string"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "self": {"$ref": "#/definitions/Thing"},
            },
            "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}],
        }
    },
}


def test_a_definition_can_be_read_back() -> None:
    whole = fields(gnostic.document(DOCUMENT))
    assert text(whole, 1) == "2.0"
    assert text(part(whole, 2), 1) == "Fairway"
    thing = named(part(whole, 9), 1)["Thing"]
    assert text(thing, 4) == "A thing. " * 40
    assert text(thing, 19) == "port"
    assert text(part(thing, 22), 1) == "object"
    properties = named(part(thing, 25), 1)
    assert list(properties) == ["port", "names", "labels", "self"]
    assert text(properties["port"], 2) == "int32"
    assert text(part(part(part(properties["names"], 23), 1), 22), 1) == "string"
    assert text(part(part(part(properties["labels"], 21), 1), 22), 1) == "string"
    assert text(properties["self"], 1) == "#/definitions/Thing"
    extension = named(thing, 31)["x-kubernetes-group-version-kind"]
    assert yaml.safe_load(text(extension, 2)) == [{"group": "", "kind": "Thing", "version": "v1"}]


def test_an_operation_can_be_read_back() -> None:
    whole = fields(gnostic.document(DOCUMENT))
    patch = part(named(part(whole, 8), 2)["/things/{name}"], 8)
    assert text(patch, 5) == "patchThing"
    assert text(patch, 7) == "application/merge-patch+json"
    parameters = [part(fields(one), 1) for one in patch[8] if isinstance(one, bytes)]
    path, query, body = part(part(parameters[0], 2), 4), part(part(parameters[1], 2), 3), part(parameters[2], 1)
    assert (text(path, 4), text(path, 2), path[1], text(path, 5)) == ("name", "path", [1], "string")
    assert (text(query, 4), text(query, 2), text(query, 6)) == ("dryRun", "query", "string")
    assert (text(body, 2), body[4], text(part(body, 5), 1)) == ("body", [1], "#/definitions/Thing")
    response = part(named(part(patch, 9), 1)["200"], 1)
    assert text(response, 1) == "OK"
    assert text(part(part(response, 2), 1), 1) == "#/definitions/Thing"


def test_the_whole_document_has_the_definitions_and_paths_of_its_json_form() -> None:
    openapi = OpenApi(standard_kinds(ServiceAllocator(Ranges.parse(), lambda below: 0)).groups)
    whole, expected = fields(openapi.v2_protobuf()), json.loads(openapi.v2())
    assert list(named(part(whole, 9), 1)) == list(expected["definitions"])
    assert list(named(part(whole, 8), 2)) == list(expected["paths"])
