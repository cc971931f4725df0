"""Unit tests of `fairway.objects.status`: the words are Kubernetes' own."""

from __future__ import annotations

import pytest

from fairway.objects import status
from fairway.objects.resources import DEPLOYMENTS, SERVICES
from fairway.objects.status import ApiError, FieldError


@pytest.mark.parametrize(
    "error, words",
    [
        (status.required("spec.ports", ""), "spec.ports: Required value"),
        (status.required("spec.ports", "at least one"), "spec.ports: Required value: at least one"),
        (
            status.invalid("spec.ports[0].port", 0, "must be between 1 and 65535, inclusive"),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (status.invalid("spec.clusterIP", "x", "must be an IP"), 'spec.clusterIP: Invalid value: "x": must be an IP'),
        (
            status.not_supported("spec.type", "Pet", ["ClusterIP", "NodePort"]),
            'spec.type: Unsupported value: "Pet": supported values: "ClusterIP", "NodePort"',
        ),
        (status.forbidden_field("spec.x", "may not be set"), "spec.x: Forbidden: may not be set"),
        (status.duplicate("spec.ports[1]", {"port": 80}), 'spec.ports[1]: Duplicate value: {"port":80}'),
        (status.too_long("metadata.name", 63), "metadata.name: Too long: may not be more than 63 bytes"),
    ],
)
def test_a_field_error_reads_as_kubernetes_writes_it(error: FieldError, words: str) -> None:
    assert str(error) == words


@pytest.mark.parametrize(
    "error, code, reason, message",
    [
        (status.not_found(SERVICES, "web"), 404, "NotFound", 'services "web" not found'),
        (status.not_found(DEPLOYMENTS, "web"), 404, "NotFound", 'deployments.apps "web" not found'),
        (status.already_exists(SERVICES, "web"), 409, "AlreadyExists", 'services "web" already exists'),
        (
            status.stale(SERVICES, "web"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on services "web": the object has been modified; '
            "please apply your changes to the latest version and try again",
        ),
        (status.unknown_path(), 404, "NotFound", "the server could not find the requested resource"),
        (status.unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (status.bad_request("no"), 400, "BadRequest", "no"),
        (status.forbidden("no"), 403, "Forbidden", "no"),
        (status.expired("too old"), 410, "Expired", "too old"),
        (status.internal("full"), 500, "InternalError", "Internal error occurred: full"),
    ],
)
def test_an_error_has_the_code_reason_and_words_of_the_api(
    error: ApiError, code: int, reason: str, message: str
) -> None:
    assert (error.code, error.reason, error.message) == (code, reason, message)
    assert str(error) == message
    document = error.status()
    assert (document["kind"], document["apiVersion"], document["status"]) == ("Status", "v1", "Failure")
    assert (document["code"], document["reason"], document["message"]) == (code, reason, message)


def test_an_invalid_object_lists_every_cause() -> None:
    one = status.required("spec.ports")
    two = status.invalid("spec.type", "Pet", "no such type")
    error = status.invalid_object(SERVICES, "web", [one, two])
    assert error.code == 422
    assert error.message == f'Service "web" is invalid: [{one}, {two}]'
    assert error.details["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports"},
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "Pet": no such type', "field": "spec.type"},
    ]
    assert status.invalid_object(SERVICES, "web", [one]).message == f'Service "web" is invalid: {one}'
    assert status.invalid_object(DEPLOYMENTS, "web", [one]).message.startswith('Deployment.apps "web" is invalid')


def test_details_name_the_object_and_its_group() -> None:
    assert status.not_found(SERVICES, "web").details == {"name": "web", "kind": "services"}
    assert status.not_found(DEPLOYMENTS, "web").details["group"] == "apps"
    # As in Go's JSON, what is empty is left out: the core group, a name that is missing.
    assert set(status.invalid_object(SERVICES, "", []).details) == {"kind", "causes"}


def test_an_error_survives_the_way_over_the_wire() -> None:
    sent = status.invalid_object(SERVICES, "web", [status.required("spec.ports")])
    received = ApiError.from_status(sent.status(), 422)
    assert received.status() == sent.status()


def test_an_answer_that_is_no_status_is_still_an_error() -> None:
    error = ApiError.from_status({}, 502)
    assert (error.code, error.reason, error.message) == (502, "Unknown", "the server answered 502")
