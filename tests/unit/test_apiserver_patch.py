"""Unit tests of `fairway.apiserver.patch` and `fairway.apiserver.strategic`: what each patch makes of a document."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch, json_patch, merge_patch
from fairway.apiserver.schema import shape
from fairway.apiserver.strategic import strategic_merge
from fairway.objects.codec import encode
from fairway.objects.status import ApiError

SERVICE = shape("v1", "Service")
POD = shape("v1", "Pod")
SLICE = shape("discovery.k8s.io/v1", "EndpointSlice")
DEPLOYMENT = shape("apps/v1", "Deployment")


@pytest.mark.parametrize(
    "target, patch, expected",
    [
        # The examples of RFC 7386, appendix A, that have an object on both sides.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    before = encode(target)
    assert merge_patch(target, patch) == expected
    assert encode(target) == before


@pytest.mark.parametrize(
    "operations, expected",
    [
        ([{"op": "add", "path": "/c", "value": 1}], {"a": {"b": [1, 2]}, "c": 1}),
        ([{"op": "add", "path": "/a/b/1", "value": 9}], {"a": {"b": [1, 9, 2]}}),
        ([{"op": "add", "path": "/a/b/-", "value": 9}], {"a": {"b": [1, 2, 9]}}),
        ([{"op": "add", "path": "/a/b/2", "value": 9}], {"a": {"b": [1, 2, 9]}}),
        ([{"op": "remove", "path": "/a/b/0"}], {"a": {"b": [2]}}),
        ([{"op": "replace", "path": "/a/b", "value": {}}], {"a": {"b": {}}}),
        ([{"op": "replace", "path": "", "value": {"x": 1}}], {"x": 1}),
        ([{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": [1, 2]}),
        ([{"op": "copy", "from": "/a/b", "path": "/c"}], {"a": {"b": [1, 2]}, "c": [1, 2]}),
        ([{"op": "test", "path": "/a/b/1", "value": 2}], {"a": {"b": [1, 2]}}),
        ([{"op": "add", "path": "/a~1b~0c", "value": 1}], {"a": {"b": [1, 2]}, "a/b~c": 1}),
    ],
)
def test_json_patch(operations: list[Any], expected: dict[str, Any]) -> None:
    assert json_patch({"a": {"b": [1, 2]}}, operations) == expected


@pytest.mark.parametrize(
    "operation, message",
    [
        ({"op": "remove", "path": "/x"}, "there is nothing at /x"),
        ({"op": "replace", "path": "/x", "value": 1}, "there is nothing at /x"),
        ({"op": "add", "path": "/x/y", "value": 1}, "there is nothing at /x/y"),
        ({"op": "add", "path": "/a/b/5", "value": 1}, "too short"),
        ({"op": "add", "path": "/a/b/01", "value": 1}, "not a list index"),
        ({"op": "add", "path": "/a/b/-1", "value": 1}, "not a list index"),
        ({"op": "add", "path": "/c"}, 'has no "value"'),
        ({"op": "move", "path": "/c"}, 'has no "from"'),
        ({"op": "move", "from": "/a", "path": "/a/b/c"}, "into itself"),
        ({"op": "test", "path": "/a/b", "value": []}, "testing value /a/b failed"),
        ({"op": "frobnicate", "path": "/a"}, "unknown operation"),
        ({"op": "remove", "path": ""}, "whole object"),
        ({"op": "add", "path": "a", "value": 1}, "must start with a slash"),
        ({"op": "add", "path": 1, "value": 1}, 'expected an object with "op" and "path"'),
        ("nonsense", 'expected an object with "op" and "path"'),
    ],
)
def test_an_impossible_operation_is_named(operation: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": {"b": [1, 2]}}, [operation])
    assert caught.value.code == 422
    assert "operation 0" in caught.value.message
    assert message in caught.value.message


PORTS = {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}


@pytest.mark.parametrize(
    "patch, expected",
    [
        ([{"port": 80, "nodePort": 30080}], [{"port": 80, "name": "a", "nodePort": 30080}, {"port": 81, "name": "b"}]),
        ([{"port": 82}], [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}, {"port": 82}]),
        ([{"$patch": "delete", "port": 80}], [{"port": 81, "name": "b"}]),
        ([{"$patch": "replace"}, {"port": 99}], [{"port": 99}]),
        ([{"port": 80, "name": None}], [{"port": 80}, {"port": 81, "name": "b"}]),
    ],
)
def test_a_list_with_a_key_is_merged_by_it(patch: list[Any], expected: list[Any]) -> None:
    assert strategic_merge(SERVICE, PORTS, {"spec": {"ports": patch}})["spec"]["ports"] == expected


def test_the_order_of_elements_can_be_set() -> None:
    patch = {"spec": {"$setElementOrder/ports": [{"port": 81}, {"port": 80}], "ports": [{"port": 80, "name": "c"}]}}
    merged = strategic_merge(SERVICE, PORTS, patch)
    assert merged == {"spec": {"ports": [{"port": 81, "name": "b"}, {"port": 80, "name": "c"}]}}


def test_a_list_that_is_one_value_is_replaced() -> None:
    old = {"ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}
    patch = {"ports": [{"port": 81}], "endpoints": []}
    assert strategic_merge(SLICE, old, patch) == {"ports": [{"port": 81}], "endpoints": []}


def test_a_set_of_values_grows_and_shrinks() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}
    grown = strategic_merge(POD, old, {"metadata": {"finalizers": ["b", "c"]}})
    assert grown["metadata"]["finalizers"] == ["a", "b", "c"]
    shrunk = strategic_merge(POD, grown, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "c"]}})
    assert shrunk["metadata"]["finalizers"] == ["b"]


def test_a_container_in_a_template_is_found_by_name() -> None:
    container = {"name": "main", "image": "old", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}
    old = {"spec": {"template": {"spec": {"containers": [container]}}}}
    change = {"name": "main", "image": "new", "ports": [{"containerPort": 81}], "env": [{"name": "A", "value": "2"}]}
    [merged] = strategic_merge(DEPLOYMENT, old, {"spec": {"template": {"spec": {"containers": [change]}}}})["spec"][
        "template"
    ]["spec"]["containers"]
    assert merged == {
        "name": "main",
        "image": "new",
        "ports": [{"containerPort": 80}, {"containerPort": 81}],
        "env": [{"name": "A", "value": "2"}],
    }


def test_retained_keys_are_all_that_stays() -> None:
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(DEPLOYMENT, old, patch) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_a_map_can_be_replaced_or_deleted() -> None:
    old = {"spec": {"selector": {"a": "1"}}, "status": {"loadBalancer": {"ingress": []}}}
    patch = {"spec": {"selector": {"$patch": "replace", "b": "2"}}, "status": {"$patch": "delete"}}
    assert strategic_merge(SERVICE, old, patch) == {"spec": {"selector": {"b": "2"}}}


@pytest.mark.parametrize(
    "patch, message",
    [
        ({"spec": {"$patch": "explode"}}, "unknown $patch directive"),
        ({"spec": {"ports": [{"name": "a"}]}}, "no merge key"),
        ({"spec": {"ports": ["text"]}}, "no merge key"),
        ({"spec": {"$retainKeys": "type"}}, "must be a list"),
        ({"spec": {"$setElementOrder/ports": {}}}, "must be a list"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}, "must be a list"),
    ],
)
def test_a_directive_without_sense_is_a_bad_request(patch: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        strategic_merge(SERVICE, PORTS, patch)
    assert caught.value.code == 400
    assert message in caught.value.message


@pytest.mark.parametrize(
    "content_type, data",
    [(JSON_PATCH, b"{}"), (MERGE_PATCH, b"[]"), (STRATEGIC_PATCH, b"{"), (MERGE_PATCH, b"")],
)
def test_a_patch_that_cannot_be_read_is_a_bad_request(content_type: str, data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        Patch.parse(content_type, data)
    assert caught.value.code == 400


def test_a_patch_with_too_many_operations_is_too_large() -> None:
    with pytest.raises(ApiError) as caught:
        Patch.parse(JSON_PATCH, encode([{"op": "test", "path": "", "value": {}}] * 10_001))
    assert caught.value.code == 413
