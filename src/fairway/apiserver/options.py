"""Which options of a list or a watch go together: ``resourceVersion``, ``resourceVersionMatch`` and their like."""

from __future__ import annotations

from fairway.apiserver.requests import Request
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import FieldError, bad_request, forbidden_field, invalid_object, not_supported

_OPTIONS = Resource("meta.k8s.io", "v1", "ListOptions", "listoptions", False, KubernetesObject)
_MATCHES = ("Exact", "NotOlderThan", "")


def version_of(request: Request) -> int:
    """The resourceVersion parameter, 0 when there is none; raises `ApiError`."""
    text = request.query.get("resourceVersion", "")
    if text and (not text.isdecimal() or len(text) > 19):
        raise bad_request(f"invalid resource version {text!r}: expected a number that this server gave out")
    return int(text or 0)


def exact_version(request: Request) -> int:
    """The revision that a list must be of, 0 where the newest will do; raises `ApiError`."""
    match = request.query.get("resourceVersionMatch", "")
    version = request.query.get("resourceVersion", "")
    _refuse(_list_errors(request, match, version))
    if request.query.get("continue"):
        if version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return 0
    # A page of an older list is asked for without a match by clients from before there was one.
    return version_of(request) if match == "Exact" or (not match and request.number("limit")) else 0


def _list_errors(request: Request, match: str, version: str) -> list[FieldError]:
    path = "resourceVersionMatch"
    errors = []
    if request.query.get("sendInitialEvents"):
        errors.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not match:
        return errors
    if not version:
        errors.append(forbidden_field(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if request.query.get("continue"):
        errors.append(forbidden_field(path, "resourceVersionMatch is forbidden when continue is provided"))
    if match not in _MATCHES:
        errors.append(not_supported(path, match, _MATCHES))
    if match == "Exact" and version == "0":
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        errors.append(forbidden_field(path, detail))
    return errors


def check_watch(request: Request) -> None:
    """Raises `ApiError` for options that a watch cannot have together."""
    match, initial = request.query.get("resourceVersionMatch", ""), request.query.get("sendInitialEvents", "")
    errors = []
    if match and not initial:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        errors.append(forbidden_field("resourceVersionMatch", detail))
    if initial and not match:
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(forbidden_field("resourceVersionMatch", detail))
    elif match and match != "NotOlderThan":
        errors.append(not_supported("resourceVersionMatch", match, ("NotOlderThan",)))
    if request.query.get("continue"):
        errors.append(forbidden_field("continue", "continue is forbidden for watch"))
    _refuse(errors)


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise invalid_object(_OPTIONS, "", errors)
