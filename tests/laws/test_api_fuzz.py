"""Whatever a client sends, the server answers: never 500, never a traceback.

Documents are drawn from the very schemas that the server publishes, then bent; paths, queries, headers and bodies are
drawn too. Everything goes through the whole application, without a network.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.apiserver.kinds import Kind
from fairway.apiserver.schema import Shape, shape
from tests.unit.api_calls import APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Answer, Calls, service, start

YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
BODY_TYPES = (JSON, YAML, PROTOBUF, MERGE, STRATEGIC, JSON_PATCH, APPLY, "text/plain", "")
PATCHES = (MERGE, STRATEGIC, JSON_PATCH, APPLY)
_DEPTH = 7
# A version that has not come yet, and paths that are known and not served.
_HONEST = ("Timeout", "NotImplemented")

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "a", "TCP", "10.96.0.7", "::1", "None", "ClusterIP", "80", "10.0.0.0/8", "\x00", "ü", "a/b"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=6), deeper, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["a", "web", "http", "default", "kube-system", "", "-", "A", "x" * 300, "a.b/c", "ü\n"])
QUERY = st.dictionaries(
    st.sampled_from(
        [
            "labelSelector",
            "fieldSelector",
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "dryRun",
            "fieldManager",
            "fieldValidation",
            "force",
            "gracePeriodSeconds",
            "propagationPolicy",
            "includeObject",
            "pretty",
            "orphanDependents",
            "timeoutSeconds",
        ]
    ),
    st.sampled_from(
        ["", "0", "1", "-1", "true", "All", "Exact", "NotOlderThan", "a=b", "a in (b", "metadata.name=a", "9" * 25]
    )
    | st.text(max_size=6),
    max_size=3,
)
ACCEPTS = st.sampled_from(
    [
        JSON,
        YAML,
        "*/*",
        "text/html",
        "",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    ]
)


class World:
    """One server for all examples of a test, and the loop that it lives in."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.api: Calls = self.runner.run(start())
        self.kinds: tuple[Kind, ...] = self.api.app.registry.kinds.rows

    def ask(self, method: str, url: str, **options: Any) -> Answer:
        return self.runner.run(self.api(method, url, **options))


@pytest.fixture(scope="module")
def world() -> Any:
    made = World()
    yield made
    made.runner.close()


def _fitting(draw: st.DrawFn, here: Shape, depth: int) -> Any:
    """A value that fits its type, or, now and then, anything at all."""
    if depth > _DEPTH or draw(st.integers(0, 24)) == 0:
        return draw(ANYTHING)
    match here.holds:
        case "object":
            names = sorted(here.fields)
            chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else []
            return {name: _fitting(draw, here.fields[name], depth + 1) for name in chosen}
        case "map":
            return {draw(WORDS): _fitting(draw, here.item, depth + 1) for _ in range(draw(st.integers(0, 2)))}
        case "list":
            return [_fitting(draw, here.item, depth + 1) for _ in range(draw(st.integers(0, 2)))]
        case "time":
            return draw(st.sampled_from(["2026-01-31T12:00:00Z", "2026-13-41T99:00:00Z", "now"]))
        case _:
            return _scalar(draw, here)


def _scalar(draw: st.DrawFn, here: Shape) -> Any:
    match here.schema.get("type"):
        case "integer":
            return draw(st.integers(-2, 70000) | st.sampled_from([2**31 - 1, 2**63 - 1]))
        case "boolean":
            return draw(st.booleans())
        case _:
            return draw(SCALARS.filter(lambda value: isinstance(value, str)))


@st.composite
def documents(draw: st.DrawFn, kind: Kind) -> Any:
    resource = kind.resource
    root = shape(resource.api_version, resource.kind)
    assert root is not None
    document = _fitting(draw, root, 0)
    if not isinstance(document, dict):
        return document
    if draw(st.integers(0, 9)):
        document |= {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata = document.setdefault("metadata", {})
        if isinstance(metadata, dict) and draw(st.integers(0, 9)):
            metadata["name"] = draw(st.sampled_from(["a", "b", "web"]))
            metadata.pop("namespace", None)
            metadata.pop("resourceVersion", None)
    if draw(st.booleans()) and "spec" in root.fields:
        document["spec"] = _fitting(draw, root.fields["spec"], 1)
    return document


def _path(kind: Kind, name: str = "") -> str:
    resource = kind.resource
    root = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    place = "namespaces/default/" if resource.namespaced else ""
    return f"{root}/{place}{resource.plural}" + (f"/{name}" if name else "")


def _url(path: str, query: dict[str, str]) -> str:
    return path + ("?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in query.items()) if query else "")


def _check(answer: Answer, what: Any) -> None:
    assert answer.status < 500 or answer.json.get("reason") in _HONEST, f"{what}: {answer.body[:500]!r}"
    if answer.status >= 400:
        assert answer.json["kind"] == "Status"
        assert answer.json["message"]
        assert answer.json["code"] == answer.status


@pytest.mark.reference("API bad input")
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_documents_of_every_kind_are_stored_or_refused(world: World, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(world.kinds))
    document = data.draw(documents(kind))
    content_type = data.draw(st.sampled_from([JSON, JSON, JSON, YAML]))
    what = (kind.name, document)
    _check(world.ask("POST", _path(kind), body=document, content_type=content_type), what)
    name = (
        document.get("metadata", {}).get("name")
        if isinstance(document, dict) and isinstance(document.get("metadata"), dict)
        else None
    )
    path = _path(kind, quote(name, safe="") if isinstance(name, str) and name else "a")
    for method, subresource in (("PUT", ""), *(("PUT", f"/{one}") for one in kind.subresources)):
        _check(world.ask(method, path + subresource, body=document), (method, subresource, *what))


@pytest.mark.reference("API bad input")
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_patches_of_every_form_are_applied_or_refused(world: World, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(world.kinds))
    content_type = data.draw(st.sampled_from(PATCHES))
    patch = data.draw(documents(kind))
    if content_type == JSON_PATCH:
        operation = st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "?"]),
                "path": st.sampled_from(
                    ["", "/", "/spec", "/metadata", "/metadata/name", "/spec/ports/0", "/a/b", "x"]
                ),
            },
            optional={"value": ANYTHING, "from": st.sampled_from(["", "/spec", "/metadata/labels", "y"])},
        )
        patch = data.draw(st.lists(operation, max_size=3))
    query = data.draw(QUERY) | ({"fieldManager": "fuzz"} if content_type == APPLY else {})
    subresource = data.draw(st.sampled_from(["", *(f"/{one}" for one in kind.subresources)]))
    url = _url(_path(kind, "a") + subresource, query)
    answer = world.ask("PATCH", url, body=patch, content_type=content_type)
    _check(answer, (kind.name, url, content_type, patch))


@pytest.mark.reference("API bad input")
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_path_query_and_header_is_answered(world: World, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(world.kinds))
    method = data.draw(st.sampled_from(["GET", "GET", "DELETE", "HEAD", "OPTIONS", "POST", "PUT", "BREW"]))
    parts = data.draw(st.lists(WORDS | st.sampled_from(["api", "apis", "v1", "status", "namespaces"]), max_size=4))
    path = data.draw(
        st.sampled_from([_path(kind), _path(kind, "a"), "/" + "/".join(parts), _path(kind) + "/" + "/".join(parts)])
    )
    url = _url(quote(path), data.draw(QUERY))
    answer = world.ask(
        method, url, raw=b"" if method == "GET" else data.draw(st.binary(max_size=20)), accept=data.draw(ACCEPTS)
    )
    if answer.headers["content-type"].startswith(JSON):
        _check(answer, (method, url))
    assert answer.status < 500 or answer.json.get("reason") in _HONEST


@pytest.mark.reference("API bad input")
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_bytes_under_any_type_are_read_or_refused(world: World, data: st.DataObject) -> None:
    body = data.draw(
        st.binary(max_size=64)
        | st.text(max_size=40).map(str.encode)
        | ANYTHING.map(lambda one: json.dumps(one).encode())
    )
    prefix = data.draw(st.sampled_from([b"", b"k8s\x00", b"{", b"\xff\xfe", b"%YAML 1.2\n---\n"]))
    method = data.draw(st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]))
    path = "/api/v1/namespaces/default/services" + ("" if method == "POST" else "/a?fieldManager=fuzz")
    answer = world.ask(method, path, raw=prefix + body, content_type=data.draw(st.sampled_from(BODY_TYPES)))
    _check(answer, (method, prefix + body))


_DEEP = 5000
_COPIES = json.dumps([{"op": "copy", "from": "/spec", "path": f"/spec/{number}"} for number in range(60)]).encode()
_BOMB = b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"


@pytest.mark.reference("API bad input")
@pytest.mark.parametrize("depth", [90, 400, 900, _DEEP])
@pytest.mark.parametrize("content_type", [JSON, YAML, MERGE, STRATEGIC, APPLY])
def test_deep_nesting_is_a_bad_request(world: World, content_type: str, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth if depth % 20 else b'{"a":' * depth + b"1" + b"}" * depth
    body = (
        b'{"apiVersion":"v1","kind":"Service","metadata":{"name":"deep"},"spec":{"ports":[{"port":80}]},"x":'
        + deep
        + b"}"
    )
    services = "/api/v1/namespaces/default/services"
    world.ask("POST", services, body=service("deep"))
    is_patch = content_type in PATCHES
    url = (
        f"{services}/deep?fieldManager=fuzz&force=true"
        if content_type == APPLY
        else f"{services}/deep"
        if is_patch
        else services
    )
    answer = world.ask("PATCH" if is_patch else "POST", url, raw=body, content_type=content_type)
    _check(answer, content_type)
    assert depth < 100 or answer.status in (400, 413), answer.body
    again = world.ask("GET", f"{services}/deep")
    _check(again, "read back")


@pytest.mark.reference("API bad input")
@pytest.mark.parametrize(
    "content_type, raw, status",
    [
        (YAML, _BOMB, 400),
        (APPLY, _BOMB, 400),
        (JSON_PATCH, _COPIES, 413),
        (JSON, b'{"metadata":', 400),
        (JSON, b"\xff\xfe\x00", 400),
        (JSON, b"null", 400),
        (JSON, b"[]", 400),
        (JSON, b'"text"', 400),
        (YAML, b"a: [", 400),
        (YAML, b"- a\n- b\n", 400),
        (YAML, b"!!python/object/apply:os.system ['true']", 400),
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        (JSON, b'{"metadata":{"labels":{"a":"' + b"x" * 300_000 + b'"}}}', 422),
        (JSON, b'{"metadata":{"name":"' + b"x" * 300 + b'"},"spec":{"ports":[{"port":80}]}}', 422),
        (JSON, b'{"a":"' + b"x" * (3 * 1024 * 1024) + b'"}', 413),
    ],
)
def test_what_is_no_object_is_refused_for_what_it_is(world: World, content_type: str, raw: bytes, status: int) -> None:
    world.ask("POST", "/api/v1/namespaces/default/services", body=service("refused"))
    is_patch = content_type in PATCHES
    path = "/api/v1/namespaces/default/services" + ("/refused?fieldManager=fuzz" if is_patch else "")
    answer = world.ask("PATCH" if is_patch else "POST", path, raw=raw, content_type=content_type)
    _check(answer, raw[:40])
    assert answer.status == status
