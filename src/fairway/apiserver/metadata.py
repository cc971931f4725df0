"""What happens to every object, whatever its kind, when it is created, changed and deleted. Pure.

Documents given as *new* are changed in place and returned; those given as *old* are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fairway.apiserver.kinds import Kind
from fairway.objects import resources
from fairway.objects.codec import NESTING_LIMIT, Document, decode, encode
from fairway.objects.status import (
    ApiError,
    FieldError,
    bad_request,
    conflict,
    forbidden_field,
    invalid,
    invalid_object,
    required,
    stale,
)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DEFAULT_GRACE = 30

# What only the server writes.
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_IGNORED = ("selfLink", "managedFields")
_GENERATED_NAME_LIMIT = 63
_SUFFIX_LENGTH = 5


def without_nulls(document: Document) -> Document:
    """A copy without the fields that are null: in Kubernetes they mean the same as no field.

    Raises `ApiError` for an object that is nested too deeply, as patches can make one.
    """
    try:
        data = encode(document)
    except RecursionError:
        raise _too_deep() from None
    if b"null" not in data and data.count(b"{") + data.count(b"[") <= NESTING_LIMIT:
        # Nearly every document: through JSON and back is several times faster than a walk.
        return decode(data, dict)
    found: Document = _strip(document, NESTING_LIMIT)
    return found


def _strip(value: Any, levels: int) -> Any:
    if levels < 0:
        raise _too_deep()
    if isinstance(value, dict):
        return {key: _strip(one, levels - 1) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_strip(one, levels - 1) for one in value]
    return value


def _too_deep() -> ApiError:
    return bad_request(f"the object is nested too deeply: there may be {NESTING_LIMIT} levels")


def check_identity(kind: Kind, document: Document, namespace: str, name: str) -> None:
    """Fill in kind, namespace and name from the request; raises `ApiError` where the document contradicts it."""
    resource = kind.resource
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        given = document.setdefault(field, expected)
        if given != expected:
            raise bad_request(f"the {field} in the data ({given}) does not match the expected {field} ({expected})")
    metadata = document.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    given = metadata.get("namespace") or ""
    if resource.namespaced:
        if given and given != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = namespace
    elif given:
        raise bad_request("namespace must not be set on objects without a namespace")
    if name and metadata.setdefault("name", name) != name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})",
        )


def prepare_create(kind: Kind, document: Document, *, uid: str, now: str, suffix: Callable[[], str]) -> Document:
    """The metadata of a new object: its identity is the server's; raises `ApiError`.

    What ``suffix`` draws is appended to ``generateName`` when there is no name.
    """
    metadata = document["metadata"]
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for field in (*_SERVER_OWNED, *_IGNORED, "resourceVersion"):
        metadata.pop(field, None)
    if not metadata.get("name"):
        base = metadata.get("generateName")
        if not base:
            error = required("metadata.name", "name or generateName is required")
            raise invalid_object(kind.resource, "", [error])
        metadata["name"] = str(base)[: _GENERATED_NAME_LIMIT - _SUFFIX_LENGTH] + suffix()
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now
    if kind.generation != "none":
        metadata["generation"] = 1
    if kind.status == "server":
        document.pop("status", None)
    return document


def prepare_update(kind: Kind, old: Document, new: Document, *, subresource: str) -> Document:
    """The metadata of a changed object, and only the part of it that the request is for; raises `ApiError`."""
    was, metadata = old["metadata"], new["metadata"]
    name = was["name"]
    version = metadata.get("resourceVersion")
    if version and version != was["resourceVersion"]:
        raise stale(kind.resource, name)
    if metadata.get("uid", was["uid"]) != was["uid"]:
        raise conflict(
            kind.resource,
            name,
            f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {was['uid']}",
        )
    for field in (*_SERVER_OWNED, "resourceVersion", "generateName"):
        _keep(was, metadata, field)
    for field in _IGNORED:
        metadata.pop(field, None)
    if subresource == "status":
        changed = {**old, "metadata": metadata}
        _keep(new, changed, "status")
        return changed
    if subresource == "finalize":
        changed = {**old}
        _keep(new, changed, "spec")
        return changed
    if kind.has_status:
        _keep(old, new, "status")
    return new


def finish_update(kind: Kind, old: Document, new: Document) -> Document:
    """Count the change, once the kind's rules have had their say."""
    if _counts(kind, old, new):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return new


def _counts(kind: Kind, old: Document, new: Document) -> bool:
    match kind.generation:
        case "none":
            return False
        case "spec":
            return old.get("spec") != new.get("spec")
        case "all":
            # Of a slice the labels count, too: they say whose it is.
            labels = old["metadata"].get("labels") != new["metadata"].get("labels")
            return labels or {**old, "metadata": None} != {**new, "metadata": None}


def _keep(old: dict[str, Any], new: dict[str, Any], field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def validate_metadata(document: Document) -> list[FieldError]:
    """The types that the server itself relies on; what names and labels may look like is the rules' to say."""
    metadata = document["metadata"]
    errors = []
    for field in ("labels", "annotations"):
        value = metadata.get(field, {})
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            errors.append(invalid(f"metadata.{field}", value, "must be a map of strings"))
    for field, type_ in (("name", str), ("generateName", str), ("finalizers", list), ("ownerReferences", list)):
        value = metadata.get(field)
        if value is not None and not isinstance(value, type_):
            errors.append(invalid(f"metadata.{field}", value, f"must be a {'string' if type_ is str else 'list'}"))
    return errors or _validate_owners(metadata.get("ownerReferences", []))


def _validate_owners(owners: list[Any]) -> list[FieldError]:
    errors = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        if not isinstance(owner, dict):
            errors.append(invalid(path, owner, "must be an object"))
            continue
        for field in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner.get(field), str) or not owner[field]:
                errors.append(required(f"{path}.{field}", "must not be empty"))
    if sum(isinstance(owner, dict) and owner.get("controller") is True for owner in owners) > 1:
        errors.append(invalid("metadata.ownerReferences", owners, "Only one reference can have Controller set to true"))
    return errors


def validate_metadata_update(old: Document, new: Document) -> list[FieldError]:
    if not old["metadata"].get("deletionTimestamp"):
        return []
    added = set(new["metadata"].get("finalizers", ())) - set(old["metadata"].get("finalizers", ()))
    if not added:
        return []
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
    return [forbidden_field("metadata.finalizers", detail)]


class Preconditions(msgspec.Struct, frozen=True):
    uid: str | None = None
    resourceVersion: str | None = None


class DeleteOptions(msgspec.Struct, frozen=True):
    """The body of a DELETE, as it comes over the wire."""

    apiVersion: str = ""
    kind: str = ""
    gracePeriodSeconds: int | None = None
    preconditions: Preconditions | None = None
    orphanDependents: bool | None = None
    propagationPolicy: str | None = None
    dryRun: list[str] | None = None


@dataclass(frozen=True)
class Deletion:
    """What a DELETE comes to: the marked document, and whether it can go at once."""

    document: Document
    now: bool


def begin_deletion(kind: Kind, old: Document, options: DeleteOptions, time: Callable[[int], str]) -> Deletion:
    """Mark an object as going; ``time`` gives the time that many seconds from now. Raises `ApiError`."""
    _check_preconditions(kind, old, options)
    metadata = dict(old["metadata"])
    finalizers = _with_policy(list(metadata.get("finalizers", ())), options)
    grace = _grace(kind, old, options)
    if metadata.get("deletionTimestamp"):
        grace = min(grace, metadata.get("deletionGracePeriodSeconds", 0))
    document = {**old, "metadata": metadata}
    if finalizers:
        metadata["finalizers"] = finalizers
    if not (metadata.get("deletionTimestamp") and grace == metadata.get("deletionGracePeriodSeconds", 0)):
        metadata["deletionTimestamp"] = time(grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if kind.generation != "none":
            metadata["generation"] = metadata.get("generation", 0) + 1
    if kind.resource is resources.NAMESPACES:
        document["status"] = {**old.get("status", {}), "phase": "Terminating"}
    if not is_finished(kind, document):
        return Deletion(document, now=False)
    # Only what can take its time is marked before it goes.
    marked = old["metadata"].get("deletionTimestamp") or kind.resource in (resources.PODS, resources.NAMESPACES)
    return Deletion(document if marked else old, now=True)


def is_finished(kind: Kind, document: Document) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = document["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if kind.resource is resources.NAMESPACES:
        return not document.get("spec", {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def _check_preconditions(kind: Kind, old: Document, options: DeleteOptions) -> None:
    expected = options.preconditions
    if expected is None:
        return
    metadata = old["metadata"]
    for label, wanted, found, then in (
        ("UID", expected.uid, metadata["uid"], "The object might have been deleted and then recreated"),
        (
            "ResourceVersion",
            expected.resourceVersion,
            metadata["resourceVersion"],
            "The object might have been modified",
        ),
    ):
        if wanted is not None and wanted != found:
            detail = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). {then}"
            )
            # BeforeDelete names the kind where others name the plural.
            raise conflict(replace(kind.resource, plural=kind.name), metadata["name"], detail)


def _with_policy(finalizers: list[str], options: DeleteOptions) -> list[str]:
    """The finalizers that make the collector do as the propagation policy says before the object goes."""
    policy = options.propagationPolicy or ("Orphan" if options.orphanDependents else None)
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(policy or "")
    if policy:
        finalizers = [one for one in finalizers if one not in (ORPHAN, FOREGROUND)]
    if wanted:
        finalizers.append(wanted)
    return finalizers


def _grace(kind: Kind, old: Document, options: DeleteOptions) -> int:
    """Seconds a Pod may take: only one that a node runs needs any, and its kubelet ends it with grace zero."""
    if kind.resource is not resources.PODS:
        return 0
    spec, phase = old.get("spec", {}), old.get("status", {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.gracePeriodSeconds is None:
        return int(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE))
    if options.gracePeriodSeconds < 0:
        raise bad_request(f"gracePeriodSeconds must not be negative, got {options.gracePeriodSeconds}")
    return options.gracePeriodSeconds
