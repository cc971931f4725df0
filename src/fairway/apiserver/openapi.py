"""The OpenAPI documents that clients ask for: what kinds there are, what their fields mean, what can be done to them.

kubectl reads them for ``explain``, to check a manifest before it sends it, to merge what ``apply`` changes, and to
learn whether the server knows ``dryRun`` and ``fieldValidation``. OpenAPI v3 is one document for each group and version
behind an index; version 2 is one document for everything, as JSON or as protobuf (`fairway.apiserver.gnostic`)::

    /openapi/v3                  {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=…"}, …}}
    /openapi/v3/apis/apps/v1     the types of apps/v1 and what they reach; the paths of its kinds
    /openapi/v2                  all types, all paths
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from fairway import __version__
from fairway.apiserver import gnostic
from fairway.apiserver.kinds import Kind
from fairway.apiserver.schema import REF, definitions, name_of
from fairway.objects.codec import Document, encode

PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
PROTOBUF_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_JSON = "application/json"
_V2_REF = "#/definitions/"
_WRITE = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string", "pretty": "string"}
_SELECT = {"fieldSelector": "string", "labelSelector": "string"}
_LIST = {
    **_SELECT,
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "limit": "integer",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
_DELETE = {"dryRun": "string", "gracePeriodSeconds": "integer", "propagationPolicy": "string"}
# what kubectl calls it: the HTTP method and the query parameters
_ACTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "list": ("get", _LIST),
    "get": ("get", {"pretty": "string"}),
    "post": ("post", _WRITE),
    "put": ("put", _WRITE),
    "patch": ("patch", {**_WRITE, "force": "boolean"}),
    "delete": ("delete", _DELETE),
    "deletecollection": ("delete", {**_SELECT, **_DELETE}),
}
_PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
_INFO = {"title": "Fairway", "version": __version__}


class OpenApi:
    """The documents over the kinds of each group and version, made when they are first asked for."""

    def __init__(self, groups: Mapping[tuple[str, str], Sequence[Kind]]) -> None:
        self._groups = {_root(group, version): rows for (group, version), rows in groups.items()}
        self._made: dict[str, bytes] = {}

    def v3_index(self) -> Document:
        """``/openapi/v3``; the hash in a URL changes with the document, so that clients can keep what they have."""
        return {
            "paths": {
                root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={hashlib.sha256(self.v3(root)).hexdigest()[:32]}"}
                for root in self._groups
            }
        }

    @property
    def roots(self) -> tuple[str, ...]:
        """``api/v1``, ``apis/apps/v1`` …: what `v3` can be asked for."""
        return tuple(self._groups)

    def v3(self, root: str) -> bytes:
        """``/openapi/v3/ROOT`` as JSON; raises `KeyError` for a group and version that is not served."""
        if root not in self._made:
            rows = self._groups[root]
            paths = {path: item for kind in rows for path, item in _paths(kind, _operation_v3)}
            schemas = {name: _v3_schema(definitions()[name]) for name in sorted(_reached(rows))}
            self._made[root] = encode(
                {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}
            )
        return self._made[root]

    @cached_property
    def _v2(self) -> Document:
        rows = [kind for rows in self._groups.values() for kind in rows]
        return {
            "swagger": "2.0",
            "info": _INFO,
            "paths": {path: item for kind in rows for path, item in _paths(kind, _operation_v2)},
            "definitions": {name: _v2_schema(definitions()[name]) for name in sorted(_reached(rows))},
        }

    def v2(self) -> bytes:
        """``/openapi/v2`` as JSON."""
        return encode(self._v2)

    def v2_protobuf(self) -> bytes:
        """``/openapi/v2`` as gnostic's ``openapi.v2.Document``: what kubectl before 1.24 asks for."""
        if "protobuf" not in self._made:
            self._made["protobuf"] = gnostic.document(self._v2)
        return self._made["protobuf"]


def _root(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _group_kind(kind: Kind) -> Document:
    resource = kind.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _reached(rows: Sequence[Kind]) -> set[str]:
    """The types of some kinds and of everything they mention, with what every group has."""
    roots = [name for kind in rows for name in _types(kind)]
    roots += [name for name in definitions() if name.endswith((".DeleteOptions", ".Status", ".Patch", ".WatchEvent"))]
    found: set[str] = set()
    while roots:
        name = roots.pop()
        if name not in found:
            found.add(name)
            roots += _mentioned(definitions()[name])
    return found


def _types(kind: Kind) -> Iterator[str]:
    resource = kind.resource
    yield name_of(resource.api_version, resource.kind)
    if not kind.asked:
        yield name_of(resource.api_version, f"{resource.kind}List")
    if kind.scalable:
        yield name_of("autoscaling/v1", "Scale")


def _mentioned(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.removeprefix(REF)
            else:
                yield from _mentioned(value)
    elif isinstance(schema, list):
        for one in schema:
            yield from _mentioned(one)


def _v3_schema(schema: Document) -> Document:
    """A reference cannot have a description beside it in OpenAPI 3.0: it moves into ``allOf``."""
    changed = _each_part(schema, _v3_schema)
    if "$ref" in changed and len(changed) > 1:
        changed["allOf"] = [{"$ref": changed.pop("$ref")}]
    return changed


def _v2_schema(schema: Document) -> Document:
    """OpenAPI 2 knows no ``oneOf``: a number or a text is a text with a format."""
    changed = _each_part(schema, _v2_schema)
    if "$ref" in changed:
        changed["$ref"] = changed["$ref"].replace(REF, _V2_REF)
    if "oneOf" in changed:
        kinds = [one["type"] for one in changed.pop("oneOf")]
        changed["type"] = "string"
        if "integer" in kinds:
            changed["format"] = "int-or-string"
    return changed


def _each_part(schema: Document, change: Any) -> Document:
    changed = dict(schema)
    if "properties" in changed:
        changed["properties"] = {name: change(one) for name, one in changed["properties"].items()}
    for part in ("items", "additionalProperties"):
        if isinstance(changed.get(part), dict):
            changed[part] = change(changed[part])
    return changed


def _paths(kind: Kind, operation: Any) -> Iterator[tuple[str, Document]]:
    """Every path of a kind with what can be done there."""
    resource = kind.resource
    root = f"/{_root(resource.group, resource.version)}"
    collection = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else _everywhere(kind)
    if kind.asked:
        yield collection, _item(kind, collection, ("post",), operation)
        return
    yield collection, _item(kind, collection, ("list", "post", "deletecollection"), operation)
    yield f"{collection}/{{name}}", _item(kind, f"{collection}/{{name}}", ("get", "put", "patch", "delete"), operation)
    for part in kind.subresources:
        path = f"{collection}/{{name}}/{part}"
        yield path, _item(kind, path, ("get", "put", "patch"), operation)
    if resource.namespaced:
        yield _everywhere(kind), _item(kind, _everywhere(kind), ("list",), operation)


def _everywhere(kind: Kind) -> str:
    return f"/{_root(kind.resource.group, kind.resource.version)}/{kind.resource.plural}"


def _item(kind: Kind, path: str, actions: tuple[str, ...], operation: Any) -> Document:
    return {_ACTIONS[action][0]: operation(kind, path, action) for action in actions}


def _operation(kind: Kind, path: str, action: str) -> Document:
    resource = kind.resource
    scale = path.endswith("/scale")
    words = re.sub(r"\W+", " ", path.removeprefix("/")).title().replace(" ", "")
    return {
        "description": f"{action} {resource.kind}",
        "operationId": f"{action}{words}",
        "tags": [f"{resource.group.partition('.')[0] or 'core'}_{resource.version}"],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": (
            {"group": "autoscaling", "version": "v1", "kind": "Scale"} if scale else _group_kind(kind)
        ),
    }


def _answer(kind: Kind, path: str, action: str) -> str:
    """The type that comes back."""
    if path.endswith("/scale"):
        return name_of("autoscaling/v1", "Scale")
    if action == "deletecollection" or (action == "delete" and not kind.returns_deleted):
        return name_of("v1", "Status")
    return name_of(kind.resource.api_version, kind.resource.kind + ("List" if action == "list" else ""))


def _operation_v3(kind: Kind, path: str, action: str) -> Document:
    answer = {"$ref": REF + _answer(kind, path, action)}
    found = _operation(kind, path, action)
    found["parameters"] = [
        *({"name": one, "in": "path", "required": True, "schema": {"type": "string"}} for one in _placeholders(path)),
        *({"name": one, "in": "query", "schema": {"type": type_}} for one, type_ in _ACTIONS[action][1].items()),
    ]
    if action in ("post", "put"):
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": answer}}}
    if action == "patch":
        patch = {"schema": {"$ref": REF + _PATCH}}
        found["requestBody"] = {"required": True, "content": dict.fromkeys(PATCHES, patch)}
    found["responses"] = {
        "201" if action == "post" else "200": {"description": "OK", "content": {_JSON: {"schema": answer}}},
        "401": {"description": "Unauthorized"},
    }
    return found


def _operation_v2(kind: Kind, path: str, action: str) -> Document:
    answer = {"$ref": _V2_REF + _answer(kind, path, action)}
    found = _operation(kind, path, action)
    found["consumes"] = list(PATCHES) if action == "patch" else [_JSON]
    found["produces"] = [_JSON]
    found["parameters"] = [
        *({"name": one, "in": "path", "required": True, "type": "string"} for one in _placeholders(path)),
        *({"name": one, "in": "query", "type": type_} for one, type_ in _ACTIONS[action][1].items()),
    ]
    if action in ("post", "put", "patch"):
        body = {"$ref": _V2_REF + _PATCH} if action == "patch" else answer
        found["parameters"].append({"name": "body", "in": "body", "required": True, "schema": body})
    found["responses"] = {"201" if action == "post" else "200": {"description": "OK", "schema": answer}}
    return found


def _placeholders(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)
