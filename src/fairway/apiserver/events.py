"""Events have two forms and are stored in one: ``v1``, which kubectl reads, and ``events.k8s.io/v1``, which recorders
of today write. Between them only names differ.
"""

from __future__ import annotations

from fairway.objects import resources
from fairway.objects.codec import Document

# v1 → events.k8s.io/v1
_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {later: older for older, later in _NAMES.items()}


def to_later(event: Document) -> Document:
    """An Event of ``v1`` as one of ``events.k8s.io/v1``."""
    return {_NAMES.get(field, field): value for field, value in event.items()} | {
        "apiVersion": resources.EVENTS_V1.api_version
    }


def to_stored(event: Document) -> Document:
    """An Event of ``events.k8s.io/v1`` as one of ``v1``."""
    return {_BACK.get(field, field): value for field, value in event.items()} | {
        "apiVersion": resources.EVENTS.api_version
    }
