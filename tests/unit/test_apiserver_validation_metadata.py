"""Names, labels, annotations, owners and finalizers of any kind."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import ANNOTATIONS_LIMIT, metadata, metadata_update
from fairway.objects.codec import Document

OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"}


def meta(**fields: Any) -> Document:
    return {"metadata": {"name": "web", "namespace": "shop"} | fields}


def errors(document: Document, *, namespaced: bool = True) -> dict[str, str]:
    found = metadata(document, namespaced=namespaced, name_format=formats.dns_subdomain)
    return {error.path: error.body for error in found}


WRONG: list[tuple[Document, str, str]] = [
    (meta(name=""), "metadata.name", "Required value: name or generateName is required"),
    (meta(name="a_b"), "metadata.name", 'Invalid value: "a_b": a lowercase RFC 1123 subdomain'),
    (meta(generateName="A-"), "metadata.generateName", 'Invalid value: "A-": a lowercase RFC 1123 subdomain'),
    (meta(namespace=""), "metadata.namespace", "Required value"),
    (meta(namespace="a.b"), "metadata.namespace", 'Invalid value: "a.b": a lowercase RFC 1123 label'),
    (meta(generation=-1), "metadata.generation", "Invalid value: -1: must be greater than or equal to 0"),
    (meta(labels={"a b": "c"}), "metadata.labels", 'Invalid value: "a b": name part must consist of'),
    (meta(labels={"a": "b c"}), "metadata.labels[a]", 'Invalid value: "b c": a valid label must be'),
    (meta(annotations={"a b": "c"}), "metadata.annotations", 'Invalid value: "a b": name part must consist of'),
    (
        meta(annotations={"a": "x" * ANNOTATIONS_LIMIT}),
        "metadata.annotations",
        "Too long: may not be more than 262144 bytes",
    ),
    (meta(ownerReferences=[OWNER | {"uid": ""}]), "metadata.ownerReferences[0].uid", 'Invalid value: "": must not be'),
    (
        meta(ownerReferences=[OWNER | {"controller": True}, OWNER | {"controller": True, "name": "b"}]),
        "metadata.ownerReferences",
        "Invalid value:",
    ),
    (meta(finalizers=["a b/c"]), "metadata.finalizers[0]", 'Invalid value: "a b/c": prefix part'),
    (
        meta(finalizers=["mine"]),
        "metadata.finalizers[0]",
        'Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified',
    ),
    (
        meta(finalizers=["orphan", "foregroundDeletion"]),
        "metadata.finalizers",
        'Invalid value: ["orphan","foregroundDeletion"]: finalizer set cannot contain both',
    ),
]


@pytest.mark.parametrize("document, path, words", WRONG)
def test_wrong_metadata_is_told_which_field(document: Document, path: str, words: str) -> None:
    assert errors(document).get(path, "").startswith(words), errors(document)


def test_good_metadata_has_no_errors() -> None:
    good = meta(
        generateName="web-",
        labels={"app": "web", "example.com/tier": ""},
        annotations={"Example.COM/Note": "anything\n"},
        ownerReferences=[OWNER | {"controller": True}, OWNER],
        finalizers=["foregroundDeletion", "example.com/mine"],
    )
    assert errors(good) == {}


def test_a_kind_without_namespaces_must_not_name_one() -> None:
    assert errors(meta(), namespaced=False) == {"metadata.namespace": "Forbidden: not allowed on this type"}


@pytest.mark.parametrize("field", ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"])
def test_identity_does_not_change(field: str) -> None:
    found = metadata_update(meta(**{field: "b"}), meta(**{field: "a"}))
    assert [str(error) for error in found] == [f'metadata.{field}: Invalid value: "b": field is immutable']


def test_no_finalizer_comes_while_the_object_goes() -> None:
    old = meta(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b"])
    new = meta(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b", "a/c"])
    found = [str(error) for error in metadata_update(new, old)]
    assert found[0].startswith("metadata.finalizers: Forbidden: no new finalizers can be added if the object is being")
    assert '["a/c"]' in found[0]
