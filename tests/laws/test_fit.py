"""A yes of the quick check is a yes of the walk through the document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.decoding import mistyped_in, unknown_in
from fairway.apiserver.fit import fits
from fairway.apiserver.schema import shape
from fairway.bench.api import endpointslice, service
from fairway.objects.codec import Document

_KINDS = {"Service": "v1", "EndpointSlice": "discovery.k8s.io/v1"}
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**63, 80.0, 0.5]),
    st.sampled_from(["", "80", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n", "1Gi", "é"]),
    st.sampled_from([[], [None], ["a"], {}, {"a": None}, {"a": 1}]),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every field and item, as what holds it and the key there."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in pairs]
    return found + [place for _, one in pairs if isinstance(one, (dict, list)) for place in _places(one)]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A Service or a slice with some of its values replaced, and perhaps a field that is unknown."""
    document: Document = draw(st.sampled_from([service, endpointslice]))(1)
    document["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z"
    for _ in range(draw(st.integers(0, 2))):
        holder, key = draw(st.sampled_from(_places(document)[2:]))
        holder[key] = draw(_VALUES)
    if draw(st.booleans()):
        document[draw(st.sampled_from(["spec", "status", "endpoints", "surprise"]))] = draw(_VALUES)
    return document


@given(documents())
def test_what_fits_has_nothing_wrong_with_it(document: Document) -> None:
    root = shape(_KINDS[document["kind"]], document["kind"]) if document["kind"] in _KINDS else None
    if root is not None and fits(root, document):
        assert unknown_in(root, document) == []
        assert mistyped_in(root, document) == []


@pytest.mark.parametrize("document", [service(1), endpointslice(1)], ids=lambda one: str(one["kind"]))
def test_an_ordinary_object_fits_without_a_walk(document: Document) -> None:
    root = shape(document["apiVersion"], document["kind"])
    assert root is not None
    assert fits(root, document)


@pytest.mark.parametrize("value", [True, "80", 2**31, [80], 80.5])
def test_what_is_no_port_does_not_fit(value: Any) -> None:
    document = service(1)
    document["spec"]["ports"][0]["port"] = value
    root = shape("v1", "Service")
    assert root is not None
    assert not fits(root, document)
    assert mistyped_in(root, document)


def test_every_kind_of_secret_data_is_judged_as_the_walk_judges_it() -> None:
    root = shape("v1", "Secret")
    assert root is not None
    for text, fine in (("", True), ("YQ==", True), ("YWI=", True), ("YWJj", True), ("YQ", False), ("a?==", False)):
        document: Document = {"apiVersion": "v1", "kind": "Secret", "data": {"key": text}}
        assert fits(root, document) is fine
        assert (mistyped_in(root, document) == []) is fine
