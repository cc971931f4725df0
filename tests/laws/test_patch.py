"""Laws of patches: what kubectl relies on when it works out a patch and sends it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.patch import json_patch, merge_patch
from fairway.apiserver.schema import shape
from fairway.apiserver.strategic import strategic_merge
from fairway.objects.codec import encode

NAMES = st.sampled_from(["a", "b", "spec", "ports", "name"])
SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=10
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
PORTS = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 5)}, optional={"name": st.sampled_from(["x", "y"])}),
    max_size=4,
    unique_by=lambda port: port["port"],
)
SERVICE = shape("v1", "Service")


def nulls_gone(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: nulls_gone(one) for key, one in value.items() if one is not None}
    return value


@given(DOCUMENTS, DOCUMENTS)
def test_a_merge_patch_applied_twice_is_the_same_as_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


@given(DOCUMENTS)
def test_a_document_is_a_merge_patch_from_nothing_to_itself(document: dict[str, Any]) -> None:
    assert merge_patch({}, document) == nulls_gone(document)


@given(DOCUMENTS, DOCUMENTS)
def test_patches_leave_the_old_document_alone(document: dict[str, Any], patch: dict[str, Any]) -> None:
    before = encode(document)
    merge_patch(document, patch)
    strategic_merge(None, document, patch)
    assert encode(document) == before


@given(DOCUMENTS, DOCUMENTS)
def test_without_a_shape_strategic_merge_is_merge_patch(document: dict[str, Any], patch: dict[str, Any]) -> None:
    assert strategic_merge(None, document, patch) == merge_patch(document, patch)


@given(DOCUMENTS, VALUES)
def test_what_was_added_is_tested_and_removed_again(document: dict[str, Any], value: Any) -> None:
    operations = [
        {"op": "add", "path": "/new", "value": value},
        {"op": "test", "path": "/new", "value": value},
        {"op": "remove", "path": "/new"},
    ]
    assert json_patch(dict(document), operations) == document


@given(PORTS, PORTS)
def test_merged_ports_are_the_union_by_port(old: list[dict[str, Any]], patch: list[dict[str, Any]]) -> None:
    merged = strategic_merge(SERVICE, {"spec": {"ports": old}}, {"spec": {"ports": patch}})["spec"]["ports"]
    was, change = ({port["port"]: port for port in ports} for ports in (old, patch))
    assert {port["port"]: port for port in merged} == {
        number: {**was.get(number, {}), **change.get(number, {})} for number in was.keys() | change.keys()
    }
    assert [port["port"] for port in merged][: len(old)] == [port["port"] for port in old]
