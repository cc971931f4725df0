"""Names, labels, annotations, owners and finalizers: what holds for the metadata of every kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.formats import Format
from fairway.objects.codec import Document
from fairway.objects.status import FieldError, duplicate, forbidden_field, invalid, required, too_long

Errors = list[FieldError]

IMMUTABLE = "field is immutable"
ANNOTATIONS_LIMIT = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_OWNER_FIELDS = {
    "apiVersion": "version must not be empty",
    "kind": "must not be empty",
    "name": "must not be empty",
    "uid": "must not be empty",
}
_UNCHANGING = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def each_invalid(path: str, value: Any, problems: Iterable[str]) -> Errors:
    """One error for each problem a format found."""
    return [invalid(path, value, problem) for problem in problems]


def nonnegative(path: str, value: int | None) -> Errors:
    return [invalid(path, value, "must be greater than or equal to 0")] if value is not None and value < 0 else []


def duplicates(values: Iterable[tuple[str, Any]]) -> Errors:
    """An error for every value that was there before; ``values`` are pairs of path and value."""
    seen: set[Any] = set()
    found: Errors = []
    for path, value in values:
        if value in seen:
            found.append(duplicate(path, value))
        seen.add(value)
    return found


def label_errors(found: Mapping[str, str], path: str) -> Errors:
    """The errors of a map of labels, or of a selector that is one."""
    errors: Errors = []
    for key, value in sorted(found.items()):
        errors += each_invalid(path, key, formats.qualified_name(key))
        errors += each_invalid(f"{path}[{key}]", value, formats.label_value(value))
    return errors


def annotation_errors(found: Mapping[str, str], path: str) -> Errors:
    errors: Errors = []
    for key in sorted(found):
        errors += each_invalid(path, key, formats.qualified_name(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > ANNOTATIONS_LIMIT:
        errors.append(too_long(path, ANNOTATIONS_LIMIT))
    return errors


def metadata(document: Document, *, namespaced: bool, name_format: Format) -> Errors:
    """The errors of ``metadata`` as a whole; the name must follow the format of the kind."""
    meta: Document = document.get("metadata", {})
    path = "metadata"
    errors = [*_names(meta, path, name_format), *_namespace(meta, path, namespaced)]
    errors += nonnegative(f"{path}.generation", meta.get("generation"))
    errors += label_errors(meta.get("labels", {}), f"{path}.labels")
    errors += annotation_errors(meta.get("annotations", {}), f"{path}.annotations")
    errors += _owners(meta.get("ownerReferences", []), f"{path}.ownerReferences")
    errors += _finalizers(meta.get("finalizers", []), f"{path}.finalizers")
    return errors


def metadata_update(new: Document, old: Document) -> Errors:
    """What an update may not do to ``metadata``."""
    now, before = new.get("metadata", {}), old.get("metadata", {})
    errors = [
        invalid(f"metadata.{field}", now.get(field), IMMUTABLE)
        for field in _UNCHANGING
        if now.get(field, "") != before.get(field, "")
    ]
    added = sorted(set(now.get("finalizers", [])) - set(before.get("finalizers", [])))
    if added and before.get("deletionTimestamp"):
        words = ", ".join(f'"{one}"' for one in added)
        message = f"no new finalizers can be added if the object is being deleted, found new finalizers [{words}]"
        errors.append(forbidden_field("metadata.finalizers", message))
    return errors


def _names(meta: Document, path: str, name_format: Format) -> Errors:
    errors: Errors = []
    prefix, name = meta.get("generateName", ""), meta.get("name", "")
    if prefix:
        # A prefix may end in a dash, because characters follow.
        whole = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        errors += each_invalid(f"{path}.generateName", prefix, name_format(whole))
    if not name:
        return [*errors, required(f"{path}.name", "name or generateName is required")]
    return [*errors, *each_invalid(f"{path}.name", name, name_format(name))]


def _namespace(meta: Document, path: str, namespaced: bool) -> Errors:
    namespace = meta.get("namespace", "")
    if not namespaced:
        return [forbidden_field(f"{path}.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required(f"{path}.namespace")]
    return each_invalid(f"{path}.namespace", namespace, formats.dns_label(namespace))


def _owners(owners: list[Document], path: str) -> Errors:
    errors = [
        invalid(f"{path}[{index}].{field}", owner.get(field, ""), words)
        for index, owner in enumerate(owners)
        for field, words in _OWNER_FIELDS.items()
        if not owner.get(field)
    ]
    controllers = [owner.get("name", "") for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        words = f'Found "true" in references for {controllers[0]} and {controllers[1]}'
        errors.append(invalid(path, owners, f"Only one reference can have Controller set to true. {words}"))
    return errors


def _finalizers(finalizers: list[str], path: str) -> Errors:
    errors: Errors = []
    for index, name in enumerate(finalizers):
        errors += each_invalid(f"{path}[{index}]", name, formats.qualified_name(name))
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            words = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid(f"{path}[{index}]", name, words))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        errors.append(invalid(path, finalizers, "finalizer set cannot contain both orphan and foregroundDeletion"))
    return errors
