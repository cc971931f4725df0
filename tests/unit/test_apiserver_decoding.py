"""Fields that are not there and values that do not fit, in the real server's words."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.decoding import strict_error, type_errors, unknown_fields
from fairway.objects.codec import Document


def service(**spec: Any) -> Document:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


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
