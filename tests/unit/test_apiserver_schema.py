"""Fields that are not there, values that do not fit, and how lists are merged: from the shipped schemas."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fairway.apiserver.schema import (
    definitions,
    merge_strategy,
    name_of,
    shape,
    strict_error,
    type_errors,
    unknown_fields,
)
from fairway.objects.codec import Document
from fairway.objects.resources import RESOURCES, Resource


def service(**spec: Any) -> Document:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_kind_has_a_schema_and_one_of_its_list(resource: Resource) -> None:
    assert name_of(resource.api_version, resource.kind) in definitions()
    assert name_of(resource.api_version, f"{resource.kind}List") in definitions()


def test_every_type_that_is_mentioned_is_shipped() -> None:
    mentioned = set(re.findall(r"#/components/schemas/([\w.-]+)", json.dumps(definitions())))
    assert "io.k8s.api.core.v1.ServicePort" in mentioned
    assert mentioned <= definitions().keys()


@pytest.mark.parametrize(
    "document, paths",
    [
        (service(ports=[{"port": 80, "targetPort": "http"}], selector={"anything": "goes"}), []),
        (service(foo=1), ["spec.foo"]),
        (service(ports=[{"port": 80}, {"prot": 81}]), ["spec.ports[1].prot"]),
        (service() | {"extra": {}}, ["extra"]),
        ({"metadata": {"name": "a", "label": {}}}, ["metadata.label"]),
    ],
)
def test_unknown_fields_are_named_by_their_paths(document: Document, paths: list[str]) -> None:
    assert unknown_fields("v1", "Service", document) == paths


def test_unknown_fields_are_told_in_one_sentence() -> None:
    assert strict_error(['unknown field "spec.a"', 'unknown field "spec.b"']) == (
        'strict decoding error: unknown field "spec.a", unknown field "spec.b"'
    )


def test_a_kind_without_a_schema_has_no_complaints() -> None:
    assert unknown_fields("example.com/v1", "Thing", {"a": 1}) == []
    assert type_errors("example.com/v1", "Thing", {"a": 1}) == []


FIELD = "into Go struct field"
MISTYPED: list[tuple[Document, str]] = [
    (
        service(ports=[{"port": "abc"}]),
        f"json: cannot unmarshal string {FIELD} ServicePort.spec.ports.port of type int32",
    ),
    (
        service(ports=[{"port": 80.5}]),
        f"json: cannot unmarshal number 80.5 {FIELD} ServicePort.spec.ports.port of type",
    ),
    (service(ports=[{"port": 2**40}]), f"json: cannot unmarshal number 1099511627776 {FIELD} ServicePort.spec.ports"),
    (service(ports=[{"port": True}]), f"json: cannot unmarshal bool {FIELD} ServicePort.spec.ports.port of type int32"),
    (
        service(ports={"port": 80}),
        f"json: cannot unmarshal object {FIELD} ServiceSpec.spec.ports of type []v1.ServicePort",
    ),
    (service(ports=[80]), f"json: cannot unmarshal number {FIELD} ServiceSpec.spec.ports of type v1.ServicePort"),
    (service(ports=[None]), f"json: cannot unmarshal null {FIELD} ServiceSpec.spec.ports of type v1.ServicePort"),
    (service(ports=[{"targetPort": {}}]), "json: cannot unmarshal object into Go value of type int32"),
    (service(selector=[]), f"json: cannot unmarshal array {FIELD} ServiceSpec.spec.selector of type map[string]string"),
    (service(selector={"a": 1}), f"json: cannot unmarshal number {FIELD} ServiceSpec.spec.selector of type string"),
    (service(type=1), f"json: cannot unmarshal number {FIELD} ServiceSpec.spec.type of type string"),
    (
        service(publishNotReadyAddresses="yes"),
        f"json: cannot unmarshal string {FIELD} ServiceSpec.spec.publishNotReady",
    ),
    ({"spec": "x"}, f"json: cannot unmarshal string {FIELD} Service.spec of type v1.ServiceSpec"),
    (
        {"metadata": {"labels": {"a": 1}}},
        f"json: cannot unmarshal number {FIELD} ObjectMeta.metadata.labels of type str",
    ),
    ({"metadata": {"creationTimestamp": "today"}}, 'parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse'),
]


@pytest.mark.parametrize("document, words", MISTYPED)
def test_a_value_that_does_not_fit_is_told_as_the_real_server_does(document: Document, words: str) -> None:
    errors = type_errors("v1", "Service", document)
    assert errors
    assert errors[0].startswith(f'Service in version "v1" cannot be handled as a Service: {words}'), errors


def test_a_quantity_must_be_one() -> None:
    document = {"spec": {"containers": [{"resources": {"limits": {"cpu": "much", "memory": 1}}}]}}
    [error] = type_errors("v1", "Pod", document)
    assert "quantities must match the regular expression" in error


@pytest.mark.parametrize(
    "document",
    [
        service(ports=[{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 81}], type=None),
        {"metadata": {"name": "a", "creationTimestamp": None, "labels": {"a": None}}},
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}},
        {"unknown": object},
    ],
)
def test_what_fits_has_no_errors(document: Document) -> None:
    assert type_errors("v1", "Service", document) == []


def test_the_group_is_not_part_of_the_version_in_a_message() -> None:
    [error] = type_errors("apps/v1", "Deployment", {"spec": {"replicas": "3"}})
    assert error == (
        'Deployment in version "v1" cannot be handled as a Deployment: '
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    )


@pytest.mark.parametrize(
    "kind, path, key",
    [
        (("v1", "Service"), "spec.ports", "port"),
        (("v1", "Pod"), "spec.containers", "name"),
        (("v1", "Pod"), "spec.containers.ports", "containerPort"),
        (("v1", "Pod"), "spec.containers.env", "name"),
        (("apps/v1", "Deployment"), "spec.template.spec.volumes", "name"),
        (("v1", "Node"), "status.conditions", "type"),
        (("v1", "Service"), "metadata.ownerReferences", "uid"),
        (("discovery.k8s.io/v1", "EndpointSlice"), "endpoints", ""),
        (("v1", "Service"), "spec.clusterIPs", ""),
    ],
)
def test_the_merge_key_of_a_list(kind: tuple[str, str], path: str, key: str) -> None:
    found = merge_strategy(*kind, path)
    assert found is not None
    assert found.merge_key == key
    assert ("merge" in found.patch_strategy) is bool(key)


def test_a_field_that_is_not_there_has_no_merge_strategy() -> None:
    assert merge_strategy("v1", "Service", "spec.nothing") is None
    assert merge_strategy("v1", "Nothing", "spec") is None


def test_an_object_may_retain_only_the_keys_of_a_patch() -> None:
    strategy = merge_strategy("apps/v1", "Deployment", "spec.strategy")
    assert strategy is not None
    assert strategy.patch_strategy == {"retainKeys"}


def test_a_whole_kind_can_be_walked_field_by_field() -> None:
    found = shape("v1", "Service")
    assert found is not None
    port = found.fields["spec"].fields["ports"].item
    assert port.fields["port"].go_type == "int32"
    assert port.fields["targetPort"].holds == "int-or-string"
