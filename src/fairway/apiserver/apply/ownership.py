"""What a write does to the owners of an object's fields. Pure.

An update owns what it adds and changes, and takes it from everybody else::

    owners' = owners − changed − removed,   author's ∪ changed

An apply owns exactly what its configuration says. What it changes and somebody else owns is a conflict, unless it is
forced; what it owned before, no longer says, and nobody else owns, goes from the object::

    merged = merge(live, configuration) − (owned before − owned by anybody now)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairway.apiserver.apply.fields import (
    SELF,
    Fields,
    FieldsError,
    difference,
    intersection,
    paths,
    union,
)
from fairway.apiserver.apply.owners import (
    Author,
    Identity,
    Owners,
    Share,
    entry_of,
    identity_of,
    read_owners,
    stored_owners,
    write_owners,
)
from fairway.apiserver.apply.walk import Changes, check, compare, fields_of, merge, named, remove
from fairway.apiserver.schema import Shape
from fairway.objects.codec import DecodeError, Document, decode, encode

Entries = list[dict[str, Any]]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Whose apply may take over what ``kubectl apply`` without --server-side once wrote.
_KUBECTL = "kubectl"
_BEFORE = Author("before-first-apply")
# Nobody owns what says which object it is, nor what only the server writes.
_UNOWNED = ("apiVersion", "kind")
_UNOWNED_METADATA = frozenset(
    ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields")
)


@dataclass(frozen=True)
class Write:
    """What is known of a write beside its documents: its author, the object's shape and version, and the time."""

    author: Author
    shape: Shape
    version: str
    time: str


class ApplyConflict(Exception):
    """An apply would change what others own: each owner as conflicts name it, with one of its fields."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        self.conflicts = conflicts
        super().__init__(_conflict_message(conflicts))


def after_create(write: Write, new: Document) -> Entries:
    """The owner of a new object's fields: its author. The status is nobody's before it has been written as such."""
    content = _content(new)
    content.pop("status", None)
    fields = fields_of(write.shape, content, containers=True)
    return [entry_of(write.author, write.version, fields, write.time)] if fields else []


def after_update(write: Write, old: Document, new: Document, given: Any) -> Entries:
    """The owners once ``old`` has become ``new``; ``given`` is what the request said about them, if anything."""
    live: Entries = old["metadata"].get("managedFields") or []
    entries = live
    if given and given != live and not write.author.subresource:
        entries = _replaced(live, given)
    changes = compare(write.shape, _content(old), _content(new))
    if not changes:
        return entries
    owners = stored_owners(entries)
    me = identity_of(write.author, write.version)
    mine = owners.get(me)
    touched = union(changes.added, changes.modified)
    _take(owners, touched, changes.removed)
    if touched:
        kept = difference(mine.fields, changes.removed) if mine else {}
        owners[me] = Share(union(kept, touched), write.time, write.version)
    return write_owners(owners)


def _replaced(live: Entries, given: Any) -> Entries:
    """The entries that a client may set itself. One empty entry means none; what cannot be read changes nothing."""
    if given == [{}]:
        return []
    try:
        return write_owners(read_owners(given)) or live
    except (FieldsError, TypeError):
        return live


def _take(owners: Owners, touched: Fields, removed: Fields, keeper: Identity | None = None) -> None:
    """Take fields from everybody but the keeper, who only loses what is gone from the object."""
    for identity, share in list(owners.items()):
        left = difference(share.fields, removed)
        if identity != keeper:
            left = difference(left, touched)
        owners[identity] = Share(left, share.time, share.version)


def apply(write: Write, live: Document | None, configuration: Document, *, force: bool) -> Document:
    """The object after an apply, with its owners; the given documents are left as they are.

    ``live`` is None for an object that is not there yet. Raises `ApplyConflict`, and `Unfit` for a configuration that
    does not fit the schema.
    """
    check(write.shape, configuration)
    try:
        return _apply(write, live, configuration, force)
    except ApplyConflict as error:
        allowed = _last_applied(write, live) if live and write.author.manager == _KUBECTL else {}
        left = [one for one in error.conflicts if one[1] not in set(paths(allowed))]
        if left:
            raise ApplyConflict(left) from None
        return _apply(write, live, configuration, True)


def _apply(write: Write, live: Document | None, configuration: Document, force: bool) -> Document:
    shape = write.shape
    owners = _owners_before(write, live)
    me = identity_of(write.author, write.version)
    last = owners.get(me)
    applied = _appliable(write.author, configuration)
    fields = fields_of(shape, _content(applied))
    owners[me] = Share(fields, write.time, write.version)
    merged = merge(shape, live or {}, applied)
    if last is not None:
        merged = remove(shape, merged, _unclaimed(shape, last.fields, owners))
    changes = compare(shape, _content(live or {}), _content(merged))
    touched = union(changes.added, changes.modified)
    if not force:
        _refuse_conflicts(me, owners, touched)
    if last is not None and not changes and last.fields == fields:
        owners[me] = last
    _take(owners, touched, changes.removed, me)
    metadata = {**merged["metadata"], "managedFields": write_owners(owners)}
    return _with_last_applied(write.author, {**merged, "metadata": metadata}, configuration)


def _owners_before(write: Write, live: Document | None) -> Owners:
    """The owners so far; an object without any belongs to whoever wrote it before the first apply."""
    if live is None:
        return {}
    owners = stored_owners(live["metadata"].get("managedFields") or [])
    if not owners:
        before = entry_of(_BEFORE, write.version, fields_of(write.shape, _content(live), containers=True), write.time)
        owners = stored_owners([before])
    return owners


def _unclaimed(shape: Shape, last: Fields, owners: Owners) -> Fields:
    """What an applier owned before and nobody owns any more."""
    owned: Fields = {}
    for share in owners.values():
        owned = union(owned, share.fields)
    gone = difference(named(shape, last), named(shape, owned))
    # The metadata stays whatever becomes of its fields.
    metadata = {step: node for step, node in gone.pop("f:metadata", {}).items() if step != SELF}
    return {**gone, "f:metadata": metadata} if metadata else gone


def _refuse_conflicts(me: Identity, owners: Owners, touched: Fields) -> None:
    conflicts = [
        (str(identity), path)
        for identity, share in sorted(owners.items(), key=lambda owner: str(owner[0]))
        if identity != me
        for path in paths(intersection(share.fields, touched))
    ]
    if conflicts:
        raise ApplyConflict(conflicts)


def _conflict_message(conflicts: list[tuple[str, str]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {path}"
    lines: list[str] = []
    for manager in sorted({manager for manager, _ in conflicts}):
        lines.append(f"conflicts with {manager}:")
        lines += [f"- {path}" for owner, path in conflicts if owner == manager]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def _content(document: Document) -> Document:
    """The part of a document that can have owners."""
    found = {name: value for name, value in document.items() if name not in _UNOWNED}
    if "metadata" in found:
        found["metadata"] = {
            name: value for name, value in document["metadata"].items() if name not in _UNOWNED_METADATA
        }
        if not found["metadata"]:
            del found["metadata"]
    return found


def _appliable(author: Author, configuration: Document) -> Document:
    """What a configuration may say: through the object itself not its status, through the status only that."""
    if author.subresource == "status":
        return {name: value for name, value in configuration.items() if name != "spec"}
    return {name: value for name, value in configuration.items() if name != "status"}


def _last_applied(write: Write, live: Document) -> Fields:
    """The fields that ``kubectl apply`` without --server-side wrote last and that still are as it wrote them."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return {}
    try:
        last = decode(text, dict)
    except DecodeError:
        return {}
    content = _content(last)
    changes: Changes = compare(write.shape, content, _content(live))
    fields = fields_of(write.shape, content)
    for changed in (changes.modified, changes.added, changes.removed):
        fields = difference(fields, changed)
    return fields


def _with_last_applied(author: Author, merged: Document, configuration: Document) -> Document:
    """kubectl's own annotation, kept true where it already is, so that an apply without --server-side still works."""
    annotations = merged["metadata"].get("annotations") or {}
    if author.manager != _KUBECTL or LAST_APPLIED not in annotations:
        return merged
    text = encode(configuration).decode() + "\n"
    metadata = {**merged["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}
    return {**merged, "metadata": metadata}
