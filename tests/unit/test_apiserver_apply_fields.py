"""Sets of fields: what is in them, what they have in common, how they read."""

from __future__ import annotations

import pytest

from fairway.apiserver.apply.fields import (
    Fields,
    FieldsError,
    difference,
    intersection,
    key_step,
    parse_fields,
    paths,
    union,
)

PORT = 'k:{"port":80,"protocol":"TCP"}'


def test_the_members_read_as_kubernetes_writes_them_each_level_before_what_is_below() -> None:
    fields: Fields = {
        "f:metadata": {"f:labels": {".": {}, "f:app.kubernetes.io/name": {}}, "f:finalizers": {'v:"a"': {}}},
        "f:spec": {"f:ports": {PORT: {".": {}, "f:name": {}}}, "f:externalIPs": {"i:0": {}}},
    }
    assert list(paths(fields)) == [
        ".metadata.labels",
        '.metadata.finalizers[="a"]',
        ".metadata.labels.app.kubernetes.io/name",
        ".spec.externalIPs[0]",
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].name',
    ]


def test_a_container_and_what_is_in_it_are_two_members() -> None:
    whole: Fields = {"f:a": {}}
    inside: Fields = {"f:a": {"f:b": {}}}
    both: Fields = {"f:a": {".": {}, "f:b": {}}}
    assert union(whole, inside) == union(inside, whole) == both
    assert difference(both, whole) == inside
    assert difference(both, inside) == whole
    assert intersection(both, inside) == inside
    assert intersection(whole, inside) == {}
    assert difference(both, both) == {}


def test_the_empty_set_changes_nothing() -> None:
    fields: Fields = {"f:a": {}}
    assert union(fields, {}) == union({}, fields) == difference(fields, {}) == fields
    assert intersection(fields, {}) == difference({}, fields) == {}


def test_a_key_has_one_spelling() -> None:
    assert key_step(("protocol", "port"), ("TCP", 80)) == PORT
    assert parse_fields({'k:{"protocol": "TCP", "port":80}': {}}) == {PORT: {}}


@pytest.mark.parametrize("value", [[], {"spec": {}}, {"f:a": 1}, {"k:x": {}}, {"k:1": {}}, {"v:": {}}])
def test_what_is_no_set_is_refused(value: object) -> None:
    with pytest.raises(FieldsError):
        parse_fields(value)
