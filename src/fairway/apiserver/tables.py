"""Objects as rows: what ``kubectl get`` prints (``meta.k8s.io`` Table).

A kind's columns are data: a definition and a function from the document, and the moment that ages are counted from,
to the cell.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.apiserver.stored import Stored
from fairway.apiserver.strategy import Column
from fairway.objects.codec import Document
from fairway.runtime.clock import parse_rfc3339


def age(document: Document, now: float) -> str:
    """How old an object is, as kubectl writes it: ``45s``, ``12m``, ``3h5m``, ``5d``."""
    created = document["metadata"].get("creationTimestamp")
    return human_duration(now - parse_rfc3339(created)) if created else "<unknown>"


def human_duration(seconds: float) -> str:
    """Two units while the number is small, one when it is large (``duration.HumanDuration`` of apimachinery)."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


DEFAULT_COLUMNS = (
    Column("Name", lambda document, _: document["metadata"]["name"], "Name of the object", format="name"),
    Column("Age", age, "Time since the object was created"),
)


def table(
    objects: Iterable[Stored],
    columns: tuple[Column, ...],
    list_metadata: Document,
    *,
    include: str,
    now: float,
    version: str = "v1",
    definitions: bool = True,
) -> Document:
    """A Table document, with name and age for a kind without columns of its own.

    ``include`` is what each row carries beside its cells: Metadata, Object or None.
    """
    columns = columns or DEFAULT_COLUMNS
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": list_metadata,
        "columnDefinitions": [column.definition() for column in columns] if definitions else [],
        "rows": [_row(stored, columns, include, now, version) for stored in objects],
    }


def _row(stored: Stored, columns: tuple[Column, ...], include: str, now: float, version: str) -> Document:
    document = stored.document()
    row: Document = {"cells": [column.cell(document, now) for column in columns]}
    if include == "Object":
        row["object"] = document
    elif include != "None":
        row["object"] = partial(document, version)
    return row


def partial(document: Document, version: str = "v1") -> Document:
    """An object's metadata alone, as PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": document["metadata"],
    }
