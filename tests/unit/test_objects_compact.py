"""Compact objects say the same of everything a proxy reads, in less memory."""

from __future__ import annotations

from fairway.objects.codec import decode
from fairway.objects.compact import LAST_APPLIED, compact_service, compact_slice
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
    slim = compact_slice(wide)
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


def test_a_slice_without_endpoints_stays_one_without() -> None:
    assert compact_slice(EndpointSlice()).endpoints is None
    assert compact_slice(EndpointSlice(endpoints=())).endpoints == ()


def test_a_service_loses_its_selector_and_kubectls_copy_only() -> None:
    wide = decode(SERVICE, Service)
    slim = compact_service(wide)
    assert slim.metadata.annotations == {"fairway.dev/balancing": "hash"}
    assert slim.spec.selector is None
    assert (slim.spec.ports, slim.spec.cluster_ip, slim.spec.type) == (wide.spec.ports, "10.96.0.7", "NodePort")
    assert slim.spec.external_traffic_policy == "Local"
    assert compact_service(decode(SERVICE, Service)).spec.ports is slim.spec.ports


def test_compacting_twice_changes_nothing() -> None:
    slim, service = compact_slice(decode(SLICE, EndpointSlice)), compact_service(decode(SERVICE, Service))
    assert compact_slice(slim) == slim
    assert compact_service(service) == service
