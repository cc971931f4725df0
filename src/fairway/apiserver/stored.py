"""Objects between the storage and the wire: one encoding, made once.

A value in the storage is the object's JSON without its resourceVersion, in the order apiVersion, kind, metadata, the
rest. So every value of a kind begins with the same bytes, and the bytes to serve are the stored ones with the version
put in behind them: a read decodes nothing and encodes nothing::

    {"apiVersion":"v1","kind":"Service","metadata":{ "resourceVersion":"17", "name":"cart",...
    └──────── the same for the kind ──────────────┘ └─── put in ──────────┘ └─ as stored ──
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fairway.apiserver.kinds import Kind
from fairway.apiserver.storage.contract import Entry
from fairway.objects.codec import Document

_FIRST = ("apiVersion", "kind", "metadata")


class _Labels(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, gc=False):
    metadata: _Labels = msgspec.field(default_factory=_Labels)


_documents: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_labels = msgspec.json.Decoder(_Labelled)


def to_value(document: Document) -> bytes:
    """A document as the storage keeps it."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}
    ordered = {"apiVersion": document["apiVersion"], "kind": document["kind"], "metadata": metadata}
    ordered.update((key, value) for key, value in document.items() if key not in _FIRST)
    return msgspec.json.encode(ordered)


def to_storage(kind: Kind, document: Document) -> bytes:
    """A document of a kind, in the form it is stored in."""
    return to_value(kind.view.write(document) if kind.view else document)


class Stored(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One version of one object. ``revision`` is its resourceVersion: for a deleted object, of the deletion.

    ``written`` is the document it was made of, where that is at hand: without the resourceVersion, not to be changed.
    """

    kind: Kind
    value: bytes
    revision: int
    written: Document | None = None

    @classmethod
    def of(cls, kind: Kind, entry: Entry, revision: int = 0) -> Stored:
        """``revision`` is another than the entry's for a deleted object."""
        value = entry.value
        if kind.view is not None:
            value = to_value(kind.view.read(_documents.decode(value)))
        return cls(kind, value, revision or entry.revision)

    @property
    def body(self) -> bytes:
        """The object as JSON, with its resourceVersion."""
        head = self.kind.head
        return b'%s"resourceVersion":"%d",%s' % (head, self.revision, self.value[len(head) :])

    def document(self) -> Document:
        """The object as data, with its resourceVersion; a new copy on every call."""
        document: Document = _documents.decode(self.value)
        document["metadata"]["resourceVersion"] = str(self.revision)
        return document

    def labels(self) -> dict[str, str]:
        return _labels.decode(self.value).metadata.labels or {}


def joined(objects: Sequence[Stored]) -> list[bytes | memoryview]:
    """The objects as JSON with commas between them, in pieces: what is stored is not copied for it."""
    pieces: list[bytes | memoryview] = []
    comma = b""
    for one in objects:
        head = one.kind.head
        pieces.append(b'%s%s"resourceVersion":"%d",' % (comma, head, one.revision))
        pieces.append(memoryview(one.value)[len(head) :])
        comma = b","
    return pieces
