"""Documents through their schema: fields, differences, merging, removing."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.apply.fields import Fields, paths
from fairway.apiserver.apply.walk import Unfit, check, compare, fields_of, merge, named, remove
from fairway.apiserver.schema import Shape, shape


def _shape(api_version: str, kind: str) -> Shape:
    found = shape(api_version, kind)
    assert found is not None
    return found


SERVICE, POD, SLICE = _shape("v1", "Service"), _shape("v1", "Pod"), _shape("discovery.k8s.io/v1", "EndpointSlice")
HTTP = {"port": 80, "name": "http"}
DNS = {"port": 53, "name": "dns", "protocol": "UDP"}


def _spec(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def test_lists_with_keys_have_items_and_atomic_ones_are_one_field() -> None:
    fields = fields_of(SERVICE, _spec(ports=[HTTP, DNS], selector={"app": "web"}))
    assert list(paths(fields)) == [
        ".spec.selector",
        '.spec.ports[port=53,protocol="UDP"]',
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=53,protocol="UDP"].name',
        '.spec.ports[port=53,protocol="UDP"].port',
        '.spec.ports[port=53,protocol="UDP"].protocol',
        '.spec.ports[port=80,protocol="TCP"].name',
        '.spec.ports[port=80,protocol="TCP"].port',
    ]
    endpoints = {"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}
    assert list(paths(fields_of(SLICE, endpoints))) == [".endpoints", ".ports"]


def test_who_makes_a_list_or_a_map_owns_it_too() -> None:
    document = {"metadata": {"labels": {"a": "b"}}, **_spec(ports=[{"port": 80}])}
    assert list(paths(fields_of(SERVICE, document, containers=True))) == [
        ".metadata.labels",
        ".metadata.labels.a",
        ".spec.ports",
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].port',
    ]


def test_differences_are_told_field_by_field() -> None:
    old = _spec(type="ClusterIP", ports=[HTTP, DNS], selector={"app": "a"})
    new = _spec(ports=[{**HTTP, "nodePort": 30080}, {"port": 81}], selector={"app": "b"})
    changes = compare(SERVICE, old, new)
    assert list(paths(changes.modified)) == [".spec.selector"]
    assert list(paths(changes.added)) == [
        '.spec.ports[port=81,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].nodePort',
        '.spec.ports[port=81,protocol="TCP"].port',
    ]
    assert ".spec.type" in list(paths(changes.removed))
    assert '.spec.ports[port=53,protocol="UDP"]' in list(paths(changes.removed))
    assert not compare(SERVICE, old, old)


def test_merging_keeps_what_the_configuration_does_not_name() -> None:
    live = {
        "metadata": {"finalizers": ["a"], "labels": {"x": "1", "y": "1"}},
        **_spec(ports=[DNS, HTTP], type="NodePort"),
    }
    applied = {
        "metadata": {"finalizers": ["b"], "labels": {"y": "2"}},
        **_spec(ports=[{"port": 8080}, {"port": 80, "targetPort": "web"}]),
    }
    assert merge(SERVICE, live, applied) == {
        "metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}},
        **_spec(ports=[DNS, {"port": 8080}, {**HTTP, "targetPort": "web"}], type="NodePort"),
    }


def test_the_order_of_the_configuration_wins() -> None:
    live = _spec(ports=[{"port": 1}, {"port": 2}, {"port": 3}])
    merged = merge(SERVICE, live, _spec(ports=[{"port": 3}, {"port": 1}]))
    assert [one["port"] for one in merged["spec"]["ports"]] == [3, 1, 2]


def test_an_emptied_container_goes_too() -> None:
    document = {"metadata": {"labels": {"a": "b"}}, **_spec(ports=[HTTP, DNS], externalIPs=["192.0.2.1"])}
    gone: Fields = {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:ports": fields_of(SERVICE.fields["spec"].fields["ports"], [DNS])},
    }
    assert remove(SERVICE, document, gone) == _spec(ports=[HTTP], externalIPs=["192.0.2.1"])


def test_items_that_share_a_key_are_one_field_together() -> None:
    container = {"name": "a", "ports": [{"containerPort": 80, "name": "x"}, {"containerPort": 80, "name": "y"}]}
    old = _spec(containers=[container])
    assert '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]' in list(paths(fields_of(POD, old)))
    changed = {**container, "ports": [{"containerPort": 80, "name": "x"}, {"containerPort": 80, "name": "z"}]}
    assert list(paths(compare(POD, old, _spec(containers=[changed])).modified)) == [
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]'
    ]
    assert merge(POD, old, _spec(containers=[{"name": "a", "image": "i"}])) == _spec(
        containers=[{**container, "image": "i"}]
    )


def test_structs_on_the_way_count_as_named() -> None:
    fields: Fields = {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:name": {}}}},
    }
    assert list(paths(named(SERVICE, fields))) == [
        ".metadata",
        ".spec",
        ".metadata.labels",
        ".metadata.labels.a",
        ".spec.ports",
        '.spec.ports[port=80,protocol="TCP"].name',
    ]


@pytest.mark.parametrize(
    "document, problem",
    [
        ({"spec": {"foo": 1}}, ".spec.foo: field not declared in schema"),
        (_spec(ports=[HTTP, HTTP]), '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]'),
        (_spec(ports=[{"name": "x"}]), ".spec.ports[0]: an item of this list must have its key fields: port, protocol"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(Unfit) as refused:
        check(SERVICE, document)
    assert str(refused.value) == problem
