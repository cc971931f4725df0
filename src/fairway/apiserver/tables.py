"""Objects as rows: what ``kubectl get`` prints (``meta.k8s.io`` Table).

A kind's columns are data: a definition and a function from the document, and the moment that ages are counted from,
to the cell.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.apiserver.stored import Stored
from fairway.apiserver.strategy import Column
from fairway.objects.codec import Document


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
    """A Table document; ``include`` is what each row carries beside its cells: Metadata, Object or None."""
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
