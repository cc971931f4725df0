"""The owners of fields as they are read, written and named."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.apply.fields import FieldsError
from fairway.apiserver.apply.owners import (
    Author,
    Owners,
    Share,
    author_of,
    identity_of,
    read_owners,
    stored_owners,
    write_owners,
)

ENTRY: dict[str, Any] = {
    "manager": "kubectl",
    "operation": "Update",
    "apiVersion": "v1",
    "time": "2026-01-31T12:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:type": {}}},
    "subresource": "status",
}


def test_what_is_written_reads_back() -> None:
    assert write_owners(read_owners([ENTRY])) == write_owners(stored_owners([ENTRY])) == [ENTRY]


def test_appliers_come_first_then_the_earlier() -> None:
    later = {**ENTRY, "manager": "a", "time": "2026-02-01T12:00:00Z"}
    applier = {**ENTRY, "manager": "z", "operation": "Apply"}
    assert write_owners(read_owners([later, ENTRY, applier])) == [applier, ENTRY, later]


@pytest.mark.parametrize(
    "change",
    [{"operation": "Delete"}, {"manager": 1}, {"fieldsV1": []}, {"time": "yesterday"}, {"fieldsV1": {"spec": {}}}],
)
def test_an_entry_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FieldsError):
        read_owners([{**ENTRY, **change}])


@pytest.mark.parametrize(
    "given, agent, expected",
    [
        ("me", "curl/8.1", "me"),
        ("", "curl/8.1 (x86)", "curl"),
        ("", "", "unknown"),
        ("", "a\tb/1", "ab"),
        ("", "x" * 200, "x" * 128),
    ],
)
def test_the_author_is_the_parameter_else_the_first_word_of_the_agent(given: str, agent: str, expected: str) -> None:
    assert author_of(given, agent).manager == expected


def test_conflicts_name_an_owner_with_all_that_tells_it_apart() -> None:
    assert str(identity_of(Author("kubectl"), "v1")) == '"kubectl" using v1'
    assert str(identity_of(Author("kubectl", "Apply"), "v1")) == '"kubectl"'
    assert str(identity_of(Author("k", "Update", "status"), "v1")) == '"k" with subresource "status" using v1'


def test_the_oldest_of_too_many_updaters_are_counted_together() -> None:
    owners: Owners = {
        identity_of(Author(f"m{number:02}"), "v1"): Share(
            {f"f:{number:02}": {}}, f"2026-01-{number:02}T00:00:00Z", "v1"
        )
        for number in range(1, 14)
    }
    entries = write_owners(owners)
    assert len(entries) == 10
    oldest = next(entry for entry in entries if entry["manager"] == "ancient-changes")
    assert sorted(oldest["fieldsV1"]) == ["f:01", "f:02", "f:03", "f:04"]
