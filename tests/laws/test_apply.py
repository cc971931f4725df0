"""Laws of server-side apply: sets of fields are sets, and owners are told from the objects alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.apply.fields import Fields, difference, intersection, parse_fields, paths, union
from fairway.apiserver.apply.owners import Author
from fairway.apiserver.apply.ownership import Write, after_create, after_update, apply
from fairway.apiserver.apply.walk import compare, fields_of, merge, remove
from fairway.apiserver.schema import UNKNOWN, shape
from fairway.objects.codec import Document

SERVICE = shape("v1", "Service") or UNKNOWN

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)


def _trie(members: frozenset[tuple[str, ...]]) -> Fields:
    found: Fields = {}
    for path in members:
        one: Fields = {}
        for step in reversed(path):
            one = {f"f:{step}": one}
        found = union(found, one)
    return found


def _members(fields: Fields) -> set[str]:
    return set(paths(fields))


SETS = st.frozensets(PATHS, max_size=6)


@given(SETS, SETS)
def test_tries_are_sets(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> None:
    def text(members: frozenset[tuple[str, ...]]) -> set[str]:
        return {"".join(f".{step}" for step in path) for path in members}

    a, b = _trie(one), _trie(other)
    assert _members(union(a, b)) == text(one | other)
    assert _members(difference(a, b)) == text(one - other)
    assert _members(intersection(a, b)) == text(one & other)
    assert parse_fields(a) == a


def _port(number: int, name: str, target: int | None) -> dict[str, Any]:
    return {"port": number, "name": name, **({"targetPort": target} if target else {})}


PORTS = st.lists(
    st.builds(_port, st.integers(80, 83), st.sampled_from("xyz"), st.none() | st.integers(1, 3)),
    max_size=3,
    unique_by=lambda port: port["port"],
)


@st.composite
def _services(draw: st.DrawFn) -> Document:
    metadata: Document = {"name": "web"}
    if labels := draw(st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2)):
        metadata["labels"] = labels
    spec: Document = {}
    if ports := draw(PORTS):
        spec["ports"] = ports
    if selector := draw(st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"), max_size=2)):
        spec["selector"] = selector
    document: Document = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    return {**document, "spec": spec} if spec else document


SERVICES = _services()


def _write(manager: str, operation: Any = "Apply") -> Write:
    return Write(Author(manager, operation), SERVICE, "v1", "2026-01-31T12:00:00Z")


def _owned(document: Document) -> dict[str, set[str]]:
    return {one["manager"]: _members(one["fieldsV1"]) for one in document["metadata"].get("managedFields", ())}


def _bare(document: Document) -> Document:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    return {**document, "metadata": metadata}


@given(SERVICES, SERVICES)
def test_merging_says_everything_that_the_configuration_says(live: Document, applied: Document) -> None:
    merged = merge(SERVICE, live, applied)
    changes = compare(SERVICE, applied, merged)
    assert not changes.removed
    assert not changes.modified
    assert merge(SERVICE, merged, applied) == merged


@given(SERVICES, SERVICES)
def test_removing_what_was_added_leaves_nothing_of_it(old: Document, new: Document) -> None:
    changes = compare(SERVICE, old, new)
    left = remove(SERVICE, new, changes.added)
    assert not compare(SERVICE, old, left).added
    assert bool(changes) == (fields_of(SERVICE, old) != fields_of(SERVICE, new) or bool(changes.modified))


@given(st.lists(SERVICES, min_size=1, max_size=4))
def test_one_applier_has_exactly_what_it_says(configurations: list[Document]) -> None:
    live: Document | None = None
    for configuration in configurations:
        live = apply(_write("me"), live, configuration, force=False)
    assert live is not None
    last, found = configurations[-1], _bare(live)
    assert found.get("spec", {}).get("selector") == last.get("spec", {}).get("selector")
    ports = sorted(found.get("spec", {}).get("ports", []), key=lambda port: port["port"])
    assert ports == sorted(last.get("spec", {}).get("ports", []), key=lambda port: port["port"])
    assert found["metadata"].get("labels") == last["metadata"].get("labels")


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), SERVICES), min_size=1, max_size=5))
def test_a_forced_apply_owns_what_it_says_and_says_what_it_owns(writes: list[tuple[str, Document]]) -> None:
    live: Document | None = None
    for manager, configuration in writes:
        live = apply(_write(manager), live, configuration, force=True)
        said = {
            path
            for path in _members(fields_of(SERVICE, _bare(configuration)))
            if path.startswith((".spec", ".metadata.labels"))
        }
        assert _owned(live).get(manager, set()) == said
        there = _members(fields_of(SERVICE, _bare(live), containers=True))
        for owned in _owned(live).values():
            assert owned <= there


@given(SERVICES, st.lists(SERVICES, max_size=4))
def test_every_field_that_was_written_has_one_updater(first: Document, updates: list[Document]) -> None:
    document = {
        **first,
        "metadata": {**first["metadata"], "managedFields": after_create(_write("m0", "Update"), first)},
    }
    for number, update in enumerate(updates):
        entries = after_update(_write(f"m{number + 1}", "Update"), document, update, None)
        document = {**update, "metadata": {**update["metadata"], "managedFields": entries}}
    owners = list(_owned(document).values())
    assert sum(len(owned) for owned in owners) == len(set().union(*owners))
    there = _members(fields_of(SERVICE, _bare(document)))
    wanted = {path for path in there if path.startswith((".spec.", ".metadata.labels."))}
    assert wanted <= set().union(*owners)
