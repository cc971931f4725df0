"""Every way the API says no: the Status object, and the field errors of a refused object.

The words are Kubernetes' own (``pkg/api/errors`` and ``util/validation/field`` of apimachinery), because kubectl,
scripts and people recognise them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from fairway.objects.resources import Resource

FieldErrorType = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueNotSupported",
    "FieldValueForbidden",
    "FieldValueDuplicate",
    "FieldValueNotFound",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
    "InternalError",
]
_WORDS: dict[str, str] = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotFound": "Not found",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}
_WITHOUT_VALUE = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError"}


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field: ``spec.ports[0].port: Invalid value: 0: must be between 1 and 65535``."""

    path: str
    type: FieldErrorType
    detail: str
    value: Any = None

    @property
    def body(self) -> str:
        words = _WORDS[self.type]
        if self.type not in _WITHOUT_VALUE:
            words += f": {msgspec.json.encode(self.value).decode()}"
        return f"{words}: {self.detail}" if self.detail else words

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", detail, value)


def not_supported(path: str, value: Any, supported: Sequence[str]) -> FieldError:
    words = ", ".join(f'"{one}"' for one in supported)
    return FieldError(path, "FieldValueNotSupported", f"supported values: {words}", value)


def forbidden_field(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", "", value)


def not_in(path: str, value: Any) -> FieldError:
    """A reference to something that is not there: ``Not found: "data"``."""
    return FieldError(path, "FieldValueNotFound", "", value)


def too_many(path: str, actual: int, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooMany", f"must have at most {limit} items", actual)


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooLong", f"may not be more than {limit} bytes")


class ApiError(Exception):
    """An answer other than success, as the API server gives it and a client receives it.

    ``code`` is the HTTP status, ``reason`` the word programs test for, ``details`` the machine-readable part.
    ``token`` continues a list that has expired, from what there is now.
    """

    token = ""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> dict[str, Any]:
        """The ``Status`` document that goes over the wire."""
        found: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            found["details"] = self.details
        if self.token:
            found["metadata"] = {"continue": self.token}
        return found

    @classmethod
    def from_status(cls, status: dict[str, Any], code: int) -> ApiError:
        """The error in a ``Status`` document that a server sent."""
        return cls(
            int(status.get("code") or code),
            str(status.get("reason") or "Unknown"),
            str(status.get("message") or f"the server answered {code}"),
            status.get("details") or {},
        )


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """The ``Status`` document of something that has been done to an object that is no more."""
    details = {**_about(resource, name), "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_found(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, _about(resource, name))


def unknown_path() -> ApiError:
    """No such resource at all."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _about(resource, name))


def conflict(resource: Resource, name: str, detail: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {detail}'
    return ApiError(409, "Conflict", message, _about(resource, name))


def stale(resource: Resource, name: str) -> ApiError:
    """An update of a version that is no longer the newest."""
    return conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def invalid_object(resource: Resource, name: str, errors: Iterable[FieldError]) -> ApiError:
    found = list(errors)
    words = ", ".join(str(error) for error in found)
    if len(found) > 1:
        words = f"[{words}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [{"reason": error.type, "message": error.body, "field": error.path} for error in found]
    details = {**_about(resource, name), "kind": resource.kind, "causes": causes}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {words}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", message)


def too_many_requests(seconds: int) -> ApiError:
    """Come back after that many seconds."""
    message = "Too many requests, please try again later."
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": seconds})


def request_timeout(message: str) -> ApiError:
    """The client took too long to say what it wants."""
    return ApiError(408, "Timeout", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    """The revision a list or watch asked for has been compacted away: list again."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unavailable(message: str) -> ApiError:
    """Not now: something that the answer needs is not there."""
    return ApiError(503, "ServiceUnavailable", message)


def not_implemented(message: str) -> ApiError:
    """What Kubernetes has and this server has not."""
    return ApiError(501, "NotImplemented", message)


def unsupported_media_type(given: str, supported: Sequence[str]) -> ApiError:
    words = ", ".join(supported)
    message = f"the body of the request was in an unknown format - accepted media types include: {words}"
    return ApiError(415, "UnsupportedMediaType", f"{message} (got {given!r})")


def not_acceptable(supported: Sequence[str]) -> ApiError:
    words = ", ".join(supported)
    return ApiError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {words}",
    )


def too_large(limit: int) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"the request body is larger than the limit of {limit} bytes")


def internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def _about(resource: Resource, name: str) -> dict[str, Any]:
    # What is empty is left out, as everywhere in the API: the core group, the name that a wrong object has not got.
    about = {"name": name, "group": resource.group, "kind": resource.plural}
    return {word: said for word, said in about.items() if said}
