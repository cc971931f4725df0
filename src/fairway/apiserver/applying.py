"""Server-side apply over HTTP: a PATCH with ``application/apply-patch+yaml``, and who the author of any write is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fairway.apiserver.apply.owners import NAME_LIMIT, Author, author_of
from fairway.apiserver.apply.ownership import ApplyConflict, apply
from fairway.apiserver.apply.walk import Unfit
from fairway.apiserver.kinds import Kind
from fairway.apiserver.metadata import check_identity, without_nulls
from fairway.apiserver.registry import Registry, check_types
from fairway.apiserver.requests import JSON, YAML, Request, Target, parse_document
from fairway.apiserver.scale import scaled
from fairway.apiserver.stored import Stored
from fairway.objects.codec import Document
from fairway.objects.status import (
    ApiError,
    FieldError,
    bad_request,
    conflict,
    forbidden_field,
    invalid,
    required,
    too_long,
)

APPLY_PATCH = "application/apply-patch+yaml"
_SCALE_VERSION = "autoscaling/v1"
# A create that loses to another of the same name becomes an update, and the other way round.
_ATTEMPTS = 5


def author(request: Request, target: Target) -> Author:
    """Who a request writes as; raises `ApiError` for a ``fieldManager`` that is none."""
    name = request.query.get("fieldManager", "")
    applies = request.content_type == APPLY_PATCH and request.method == "PATCH"
    errors: list[FieldError] = []
    if len(name.encode()) > NAME_LIMIT:
        errors.append(too_long("fieldManager", NAME_LIMIT))
    if not name.isprintable():
        errors.append(invalid("fieldManager", name, "should only contain printable characters"))
    if applies and not name:
        errors.append(required("fieldManager", "is required for apply patch"))
    if request.method == "PATCH" and not applies and "force" in request.query:
        errors.append(forbidden_field("force", "may not be specified for non-apply patch"))
    if errors:
        raise request.options_error(*errors)
    if applies:
        return Author(name, "Apply", target.subresource, request.user)
    return replace(author_of(name, request.header(b"user-agent"), target.subresource), user=request.user)


async def serve_apply(registry: Registry, request: Request, target: Target) -> tuple[bool, Stored]:
    """Whether the object was created, and what it is now; raises `ApiError`."""
    by = author(request, target)
    data = await request.body()
    document = parse_document(data, JSON if data.lstrip()[:1] == b"{" else YAML)
    configuration = _with_replicas(target, document) if target.subresource == "scale" else document
    application = _Application(target, by, _checked(target, configuration), force=request.flag("force"))
    application.creation_refused = request.creation_refused
    for _ in range(_ATTEMPTS):
        try:
            return await application.attempt(registry, dry_run=request.dry_run)
        except _Overtaken:
            continue
    raise conflict(target.kind.resource, target.name, "too many writers at the same time")


def _with_replicas(target: Target, scale: Document) -> Document:
    """A Scale as what it says about the workload."""
    if scale.get("apiVersion") != _SCALE_VERSION:
        problem = f"Specified patch version: {scale.get('apiVersion')}, expected: {_SCALE_VERSION}"
        raise bad_request(f"incorrect version specified in apply patch. {problem}")
    resource = target.kind.resource
    workload: Document = {"apiVersion": resource.api_version, "metadata": {"name": target.name}}
    return scaled(workload, scale)


class _Overtaken(Exception):
    """The object came into being, or went, while it was applied."""


class _Application:
    """One configuration to be applied to one object."""

    def __init__(self, target: Target, by: Author, configuration: Document, *, force: bool) -> None:
        self._target = target
        self._by = by
        self._configuration = configuration
        self._force = force
        self.creation_refused: ApiError | None = None

    async def attempt(self, registry: Registry, *, dry_run: bool) -> tuple[bool, Stored]:
        """Raises `_Overtaken` when somebody else created or deleted the object in between."""
        target = self._target
        kind, namespace, name = target.kind, target.namespace, target.name

        def change(live: Document | None) -> Document:
            return self._merged(registry, kind, live)

        if target.subresource or await registry.find(kind, namespace, name):
            try:
                return False, await registry.update(kind, namespace, name, change, author=self._by, dry_run=dry_run)
            except ApiError as error:
                if error.reason == "NotFound" and not target.subresource:
                    raise _Overtaken from None
                raise
        if self.creation_refused:
            raise self.creation_refused
        uid = self._configuration["metadata"].get("uid")
        if uid:
            problem = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind.resource, name, problem)
        try:
            return True, await registry.create(kind, namespace, change(None), author=self._by, dry_run=dry_run)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                raise _Overtaken from None
            raise

    def _merged(self, registry: Registry, kind: Kind, live: Document | None) -> Document:
        try:
            return apply(registry.write(kind, self._by), live, self._configuration, force=self._force)
        except ApplyConflict as error:
            raise _refusal(error) from None
        except Unfit as error:
            named = f"{kind.resource.group}/{kind.resource.version}, Kind={kind.name}"
            place = f"{self._target.namespace}/{self._target.name}; {named}"
            raise bad_request(f"failed to create typed patch object ({place}): {error}") from None


def _refusal(error: ApplyConflict) -> ApiError:
    causes: list[dict[str, Any]] = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in error.conflicts
    ]
    return ApiError(409, "Conflict", str(error), {"causes": causes})


def _checked(target: Target, document: Document) -> Document:
    """The configuration as one of the target's kind and name; raises `ApiError`."""
    version, expected = document.get("apiVersion"), target.kind.resource.api_version
    if version != expected:
        problem = f"Specified patch version: {version}, expected: {expected}"
        raise bad_request(f"incorrect version specified in apply patch. {problem}")
    check_identity(target.kind, document, target.namespace, target.name)
    configuration: Document = without_nulls(document)
    if configuration["metadata"].pop("managedFields", None):
        raise bad_request("metadata.managedFields must be nil")
    check_types(target.kind, configuration)
    return configuration
