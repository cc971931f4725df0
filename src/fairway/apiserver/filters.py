"""Which objects a list or a watch is about: label and field selectors applied to stored objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairway.apiserver.kinds import ALWAYS_SELECTABLE, Kind, field
from fairway.apiserver.stored import Stored
from fairway.objects.codec import Document
from fairway.objects.selectors import (
    EVERYTHING,
    FieldRequirement,
    Selector,
    SelectorError,
    parse_field_selector,
    parse_label_selector,
)
from fairway.objects.status import bad_request

# Fields whose absence means false; everywhere else it means the empty string.
_BOOLEAN = ("spec.hostNetwork", "spec.unschedulable")
_SOURCE = {"source": "source.component"}


@dataclass(frozen=True)
class Filter:
    labels: Selector = EVERYTHING
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def everything(self) -> bool:
        return not self.labels.requirements and not self.fields

    @property
    def name(self) -> str:
        """The one name it can match, empty when it can match others."""
        return next((f.value for f in self.fields if f.path == "metadata.name" and f.equals), "")

    def matches(self, stored: Stored) -> bool:
        if self.labels.requirements and not self.labels.matches(stored.labels()):
            return False
        if not self.fields:
            return True
        document = stored.document()
        return all((_text(document, term.path) == term.value) is term.equals for term in self.fields)


def parse_filter(kind: Kind, labels: str, fields: str) -> Filter:
    """The selectors of a request; raises `ApiError` BadRequest."""
    try:
        found = Filter(parse_label_selector(labels), parse_field_selector(fields))
    except SelectorError as error:
        raise bad_request(str(error)) from None
    for term in found.fields:
        if term.path not in ALWAYS_SELECTABLE and term.path not in kind.selectable:
            known = ", ".join((*ALWAYS_SELECTABLE, *kind.selectable))
            raise bad_request(f"field label not supported: {term.path} (supported for {kind.resource.plural}: {known})")
    return found


def _text(document: Document, path: str) -> str:
    value: Any = field(document, _SOURCE.get(path, path))
    if value is None:
        return "false" if path in _BOOLEAN else ""
    return str(value).lower() if isinstance(value, bool) else str(value)
