"""``fieldValidation``: what a client hears of fields that a kind does not have. The registry stores none of them."""

from __future__ import annotations

from fairway.apiserver.kinds import Kind
from fairway.apiserver.requests import Request
from fairway.apiserver.schema import strict_error, unknown_fields
from fairway.objects.codec import Document
from fairway.objects.status import bad_request

_DIRECTIVES = ("Ignore", "Warn", "Strict")
_MOST_WARNINGS = 10


def check_fields(request: Request, kind: Kind, document: Document) -> list[str]:
    """The warnings about unknown fields; raises `ApiError` when the client asked for strictness."""
    directive = request.query.get("fieldValidation") or "Warn"
    if directive not in _DIRECTIVES:
        words = ", ".join(_DIRECTIVES)
        raise bad_request(f"invalid value for the parameter fieldValidation: {directive!r}; supported: {words}")
    if directive == "Ignore":
        return []
    resource = kind.resource
    unknown = unknown_fields(resource.api_version, resource.kind, document)
    if unknown and directive == "Strict":
        problem = strict_error(unknown)
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {problem}'
        )
    return [f'unknown field "{path}"' for path in unknown[:_MOST_WARNINGS]]
