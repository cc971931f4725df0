"""``fieldValidation``: what a client hears of fields that a kind does not have, or that it says twice.

The registry stores none of the first, and of the second the last.
"""

from __future__ import annotations

from fairway.apiserver.decoding import strict_error, unknown_fields
from fairway.apiserver.duplicates import duplicates_in_json, duplicates_in_yaml
from fairway.apiserver.kinds import Kind
from fairway.apiserver.requests import JSON, YAML, Request
from fairway.objects.codec import Document
from fairway.objects.status import bad_request

_DIRECTIVES = ("Ignore", "Warn", "Strict")
_MOST_WARNINGS = 10


def check_fields(request: Request, kind: Kind, document: Document, body: bytes = b"") -> list[str]:
    """The warnings about the fields of a document, and of the ``body`` it was read from.

    Raises `ApiError` when the client asked for strictness.
    """
    directive = request.query.get("fieldValidation") or "Warn"
    if directive not in _DIRECTIVES:
        words = ", ".join(_DIRECTIVES)
        raise bad_request(f"invalid value for the parameter fieldValidation: {directive!r}; supported: {words}")
    if directive == "Ignore":
        return []
    resource = kind.resource
    unknown = unknown_fields(resource.api_version, resource.kind, document)
    problems = [*_duplicates(request, body), *(f'unknown field "{path}"' for path in unknown)]
    if problems and directive == "Strict":
        problem = strict_error(problems)
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {problem}'
        )
    return problems[:_MOST_WARNINGS]


def _duplicates(request: Request, body: bytes) -> list[str]:
    # Nearly every body has none, and only who says how fields are to be checked waits for the second look.
    if not body or "fieldValidation" not in request.query:
        return []
    readers = {JSON: duplicates_in_json, YAML: duplicates_in_yaml}
    reader = readers.get(request.content_type)
    return reader(body) if reader else []
