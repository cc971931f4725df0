"""A request, taken apart: what it is about, and how it wants its answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fairway.apiserver.access.users import User
from fairway.apiserver.kinds import Kind, Kinds
from fairway.apiserver.protobuf import PROTOBUF, decode_protobuf
from fairway.objects.codec import DecodeError, Document, decode_bounded, read_yaml
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import (
    ApiError,
    FieldError,
    bad_request,
    invalid_object,
    not_implemented,
    not_supported,
    request_timeout,
    too_large,
    unsupported_media_type,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 3 * 1024 * 1024
# Enough for the largest body at a modem's speed; who needs longer holds a place that others wait for.
BODY_SECONDS = 30
JSON = "application/json"
YAML = "application/yaml"
_BODY_TYPES = (JSON, YAML, PROTOBUF)
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_TRUE = ("1", "true", "True", "TRUE", "t", "T")
_FALSE = ("0", "false", "False", "FALSE", "f", "F", "")


@dataclass(frozen=True)
class Target:
    """What a resource path names: a collection, or one object, or a subresource of it."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Request:
    """One HTTP request. ``peer`` is what the TLS handshake said about the client, None without a certificate."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        self.query_string: str = scope.get("query_string", b"").decode("latin-1")
        self.query: Mapping[str, str] = _first_values(scope.get("query_string", b""))
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.peer: Mapping[str, Any] | None = scope.get("fairway.peer")
        self.address: str = (scope.get("client") or ("",))[0]
        # Why this client may not create what it may replace: a PUT or an apply of something that is not there yet.
        self.creation_refused: ApiError | None = None
        # Who asks, once that is known.
        self.user: User | None = None
        self._receive = receive
        self.fields: Sequence[tuple[bytes, bytes]] = scope["headers"]
        # Whether the server has read all of the body already, where it can tell.
        self._is_here: Callable[[], bool] = scope.get("fairway.body_is_here", _unknown)
        self._body: bytes | None = None

    def header(self, name: bytes, default: str = "") -> str:
        value = self.headers.get(name)
        return default if value is None else value.decode("latin-1")

    def values(self, name: bytes) -> list[str]:
        """Every value of a header that may be there several times."""
        return [value.decode("latin-1") for field, value in self.fields if field == name]

    def flag(self, name: str) -> bool:
        """A boolean parameter; raises `ApiError` for anything that is neither true nor false."""
        text = self.query.get(name, "")
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise bad_request(f"invalid value for the parameter {name}: {text!r}; expected true or false")

    def number(self, name: str) -> int | None:
        """A parameter that is not negative, None when it is not there; raises `ApiError`."""
        text = self.query.get(name, "")
        if not text:
            return None
        if not text.isdecimal() or len(text) > 19:
            raise bad_request(f"invalid value for the parameter {name}: {text!r}; expected a number")
        return int(text)

    @property
    def dry_run(self) -> bool:
        text = self.query.get("dryRun", "")
        if text not in ("", "All"):
            raise self.options_error(not_supported("dryRun", [text], ("All",)))
        return bool(text)

    def options_error(self, *errors: FieldError) -> ApiError:
        """The refusal of the options that a write came with: ``CreateOptions.meta.k8s.io "" is invalid: …``."""
        kind = _OPTIONS[self.method]
        return invalid_object(Resource("meta.k8s.io", "v1", kind, kind.lower(), False, KubernetesObject), "", errors)

    async def body(self) -> bytes:
        """The whole body; raises `ApiError` when it is larger than the limit, or takes too long to come."""
        if self._body is None and self._is_here():
            self._body = await self._read()
        if self._body is None:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    self._body = await self._read()
            except TimeoutError:
                raise request_timeout(f"the body of the request did not come within {BODY_SECONDS} seconds") from None
        return self._body

    async def _read(self) -> bytes:
        length = self.header(b"content-length")
        if length.isdecimal() and int(length) > BODY_LIMIT:
            raise too_large(BODY_LIMIT)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise bad_request("the client went away before the end of the request")
            part = message.get("body", b"")
            size += len(part)
            if size > BODY_LIMIT:
                raise too_large(BODY_LIMIT)
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    @property
    def content_type(self) -> str:
        return self.header(b"content-type", JSON).partition(";")[0].strip().lower()

    async def document(self) -> Document:
        """The object in the body, JSON, YAML or protobuf; raises `ApiError`."""
        if self.content_type not in _BODY_TYPES:
            raise unsupported_media_type(self.content_type, _BODY_TYPES)
        return parse_document(await self.body(), self.content_type)


def parse_document(data: bytes, content_type: str) -> Document:
    """One object from a body; raises `ApiError` BadRequest."""
    if not data.strip():
        raise bad_request("the request has no body; expected an object")
    try:
        if content_type == PROTOBUF:
            return decode_protobuf(data)
        if content_type != YAML:
            return decode_bounded(data, dict)
        documents = read_yaml(data)
    except DecodeError as error:
        raise bad_request(f"the body of the request cannot be read: {error}") from None
    if len(documents) != 1:
        raise bad_request(f"expected one object in the body, found {len(documents)}")
    return documents[0]


def find_target(kinds: Kinds, path: str) -> Target | None:
    """What a path below ``/api`` or ``/apis`` names; None when there is no such kind."""
    root, *parts = path.strip("/").split("/")
    if root == "api" and len(parts) >= 2:
        group, version, rest = "", parts[0], parts[1:]
    elif root == "apis" and len(parts) >= 3:
        group, version, rest = parts[0], parts[1], parts[2:]
    else:
        return None
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or "" in rest:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    kind = kinds.by_plural(group, version, plural)
    if kind is None or (namespace and not kind.resource.namespaced):
        return None
    if kind.resource.namespaced and name and not namespace:
        return None
    if subresource and subresource not in kind.subresources:
        return None
    return Target(kind, namespace, name, subresource)


def unserved(path: str) -> ApiError | None:
    """Why a path of Kubernetes that leads into a pod is not served; None for any other path."""
    match = _INTO_PODS.fullmatch(path)
    if match is None:
        return None
    return not_implemented(f"pods/{match['part']} is not served: only a node's agent could do that, and there is none")


_INTO_PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods/[^/]+/(?P<part>attach|exec|log|portforward)(?:/.*)?")


def _unknown() -> bool:
    return False


def _first_values(query: bytes) -> Mapping[str, str]:
    found: dict[str, str] = {}
    if not query:
        return found
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return found
    for key, value in pairs:
        found.setdefault(key, value)
    return found
