"""``fieldValidation``: what happens to fields that a kind does not have. They are stored in any case but a refusal.

A field that is stored already is its writer's business: a patch hears of it only if it names the field itself.
"""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver.kinds import Kind
from fairway.apiserver.requests import Request
from fairway.apiserver.schema import strict_error, unknown_fields
from fairway.objects.codec import Document
from fairway.objects.status import bad_request

_DIRECTIVES = ("Ignore", "Warn", "Strict")
_MOST_WARNINGS = 10
_INDEX = re.compile(r"\[\d+\]")


def check_fields(request: Request, kind: Kind, document: Document, known: frozenset[str] = frozenset()) -> list[str]:
    """The warnings about unknown fields; raises `ApiError` when the client asked for strictness.

    ``known`` are those that are not to be told: `known_fields` of what a patch is applied to.
    """
    directive = request.query.get("fieldValidation") or "Warn"
    if directive not in _DIRECTIVES:
        words = ", ".join(_DIRECTIVES)
        raise bad_request(f"invalid value for the parameter fieldValidation: {directive!r}; supported: {words}")
    if directive == "Ignore":
        return []
    resource = kind.resource
    found = unknown_fields(resource.api_version, resource.kind, document)
    unknown = [path for path in found if _INDEX.sub("", path) not in known]
    if unknown and directive == "Strict":
        problem = strict_error(unknown)
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {problem}'
        )
    return [f'unknown field "{path}"' for path in unknown[:_MOST_WARNINGS]]


def known_fields(kind: Kind, stored: Document, patch: Any) -> frozenset[str]:
    """The unknown fields of a stored document that a patch (a document, or JSON Patch operations) does not bring."""
    resource = kind.resource
    paths = {_INDEX.sub("", path) for path in unknown_fields(resource.api_version, resource.kind, stored)}
    if not paths:
        return frozenset()
    if isinstance(patch, list):
        brought = {_dotted(operation) for operation in patch}
    else:
        brought = {_INDEX.sub("", path) for path in unknown_fields(resource.api_version, resource.kind, patch)}
    return frozenset(paths - brought)


def _dotted(operation: Any) -> str:
    """``/spec/ports/0/extra`` as ``spec.ports.extra``."""
    pointer = operation.get("path") if isinstance(operation, dict) else None
    parts = str(pointer).split("/")[1:]
    return ".".join(part for part in parts if not part.isdecimal() and part != "-")
