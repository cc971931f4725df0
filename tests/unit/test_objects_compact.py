"""Compact objects say the same of everything a proxy reads, in less memory."""

from __future__ import annotations

import pytest

from fairway.objects.codec import decode, encode
from fairway.objects.compact import LAST_APPLIED, SlimSlice, compact_service, compact_slice
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

SLICE = b"""{"metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "resourceVersion": "7",
  "labels": {"kubernetes.io/service-name": "web"}, "annotations": {"a": "b"}},
 "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
 "endpoints": [{"addresses": ["10.244.1.2"], "conditions": {"ready": true}, "nodeName": "node-1", "zone": "a",
   "hostname": "web-0", "hints": {"forZones": [{"name": "a"}]},
   "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-x", "uid": "long"}},
  {"addresses": ["10.244.1.3"], "conditions": {"ready": true}, "nodeName": "node-1"}]}"""
SERVICE = b"""{"metadata": {"name": "web", "namespace": "shop",
  "annotations": {"%b": "{}", "fairway.dev/balancing": "hash"}},
 "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "selector": {"app": "web"}, "externalTrafficPolicy": "Local",
  "ports": [{"port": 80, "nodePort": 30080}]}}""" % LAST_APPLIED.encode()


def test_a_slice_keeps_what_backends_are_made_of() -> None:
    wide = decode(SLICE, EndpointSlice)
    slim = compact_slice(decode(SLICE, SlimSlice))
    first, second = slim.endpoints or ()
    wide_first = (wide.endpoints or ())[0]
    assert slim.metadata == wide.metadata
    assert (slim.ports, slim.address_type, slim.service_name) == (wide.ports, "IPv4", "web")
    assert (first.addresses, first.node_name, first.hints) == (("10.244.1.2",), "node-1", wide_first.hints)
    assert first.target_ref is not None
    assert (first.target_ref.kind, first.target_ref.namespace, first.target_ref.name) == ("Pod", "shop", "web-x")
    assert first.conditions == wide_first.conditions
    assert first.conditions is second.conditions
    assert first.node_name is second.node_name
    assert (first.zone, first.hostname, first.target_ref.uid) == (None, None, "")
    assert decode(encode(slim), SlimSlice) == slim


def test_a_slice_without_endpoints_stays_one_without() -> None:
    assert compact_slice(SlimSlice()).endpoints is None
    assert compact_slice(SlimSlice(endpoints=())).endpoints == ()


def slice_of(*endpoints: tuple[str, str]) -> SlimSlice:
    """Of addresses and the nodes that they are on."""
    listed = [{"addresses": [address], "nodeName": node} for address, node in endpoints]
    return decode(encode({"metadata": {"name": "web-1"}, "endpoints": listed}), SlimSlice)


A, B, C, D = (("10.244.1.1", "n1"), ("10.244.1.2", "n1"), ("10.244.1.3", "n2"), ("10.244.1.4", "n2"))


@pytest.mark.parametrize(
    ("was", "now", "kept"),
    [
        ((A, B, C), (A, B, C), [0, 1, 2]),
        ((A, B, C), (A, C), [0, 2]),
        ((A, C), (A, B, C), [0, None, 1]),
        ((A, B, C), (C, B, A), [2, 1, 0]),
        ((A, B, C, D), (B, A, D, C), [1, 0, 3, 2]),
        ((A, B), (), []),
        ((), (A, B), [None, None]),
        ((A, B, C), (A, (B[0], "n9"), C), [0, None, 2]),
        ((A, A, B), (A, B), [0, 2]),
    ],
)
def test_an_endpoint_that_stays_is_the_very_same_object(
    was: tuple[tuple[str, str], ...], now: tuple[tuple[str, str], ...], kept: list[int | None]
) -> None:
    before = compact_slice(slice_of(*was))
    after = compact_slice(slice_of(*now), before)
    assert after == compact_slice(slice_of(*now))
    there = [id(one) for one in before.endpoints or ()]
    assert [there.index(id(one)) if id(one) in there else None for one in after.endpoints or ()] == kept


def test_a_service_loses_its_selector_and_kubectls_copy_only() -> None:
    wide = decode(SERVICE, Service)
    slim = compact_service(wide)
    assert slim.metadata.annotations == {"fairway.dev/balancing": "hash"}
    assert slim.spec.selector is None
    assert (slim.spec.ports, slim.spec.cluster_ip, slim.spec.type) == (wide.spec.ports, "10.96.0.7", "NodePort")
    assert slim.spec.external_traffic_policy == "Local"
    assert compact_service(decode(SERVICE, Service)).spec.ports is slim.spec.ports


def test_compacting_twice_changes_nothing() -> None:
    slim, service = compact_slice(decode(SLICE, SlimSlice)), compact_service(decode(SERVICE, Service))
    assert compact_slice(slim) == slim
    assert compact_service(service) == service
