"""Unit tests of `fairway.apiserver.listing` and `fairway.apiserver.tables`: lists, pages, selectors, rows."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.api_calls import Answer, Calls, pod, start

PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def api() -> Calls:
    calls = await start()
    for number in range(5):
        document = pod(f"p{number}", labels={"odd": str(bool(number % 2)).lower()})
        document["spec"]["nodeName"] = f"n{number}"
        await calls("POST", PODS, document)
    return calls


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


async def test_a_list_says_what_it_is_and_as_of_when(api: Calls) -> None:
    answer = await api("GET", PODS)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("PodList", "v1")
    assert answer.json["metadata"] == {"resourceVersion": str(api.app.registry.storage.revision)}
    assert names(answer) == ["p0", "p1", "p2", "p3", "p4"]


@pytest.mark.parametrize(
    "labels, fields, expected",
    [
        ("odd=true", "", ["p1", "p3"]),
        ("odd!=true", "", ["p0", "p2", "p4"]),
        ("missing", "", []),
        ("", "spec.nodeName=n2", ["p2"]),
        ("", "spec.nodeName!=n2", ["p0", "p1", "p3", "p4"]),
        ("", "metadata.name=p3", ["p3"]),
        ("", "metadata.name=nobody", []),
        ("odd=true", "metadata.name=p2", []),
        ("", "status.phase=Pending,spec.nodeName=n0", ["p0"]),
    ],
)
async def test_selectors_choose(api: Calls, labels: str, fields: str, expected: list[str]) -> None:
    query = f"labelSelector={quote(labels)}&fieldSelector={quote(fields)}"
    assert names(await api("GET", f"{PODS}?{query}")) == expected
    assert names(await api("GET", f"/api/v1/pods?{query}")) == expected


async def test_pages_show_one_moment_whatever_happens_between_them(api: Calls) -> None:
    first = await api("GET", f"{PODS}?limit=2")
    metadata = first.json["metadata"]
    assert names(first) == ["p0", "p1"]
    assert metadata["remainingItemCount"] == 3
    await api("DELETE", f"{PODS}/p3", {"gracePeriodSeconds": 0})
    await api("POST", PODS, pod("p2b"))
    second = await api("GET", f"{PODS}?limit=10&continue={metadata['continue']}")
    assert names(second) == ["p2", "p3", "p4"]
    assert second.json["metadata"] == {"resourceVersion": metadata["resourceVersion"]}


async def test_pages_with_a_selector_are_full(api: Calls) -> None:
    first = await api("GET", f"{PODS}?limit=2&labelSelector=odd%3Dfalse")
    assert names(first) == ["p0", "p2"]
    assert "remainingItemCount" not in first.json["metadata"]
    token = first.json["metadata"]["continue"]
    assert names(await api("GET", f"{PODS}?limit=2&labelSelector=odd%3Dfalse&continue={token}")) == ["p4"]


async def test_a_page_of_a_forgotten_moment_has_expired(api: Calls) -> None:
    token = (await api("GET", f"{PODS}?limit=2")).json["metadata"]["continue"]
    await api("POST", PODS, pod("late"))
    await api.app.registry.storage.compact(api.app.registry.storage.revision)
    answer = await api("GET", f"{PODS}?limit=2&continue={token}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")
    assert "Continuing with the provided token results in an inconsistent list" in answer.json["message"]
    rest = await api("GET", f"{PODS}?limit=2&continue={answer.json['metadata']['continue']}")
    assert names(rest) == ["p2", "p3"]


async def test_an_exact_version_is_the_past(api: Calls) -> None:
    then = (await api("GET", PODS)).json["metadata"]["resourceVersion"]
    await api("DELETE", f"{PODS}/p0", {"gracePeriodSeconds": 0})
    exact = await api("GET", f"{PODS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert names(exact) == ["p0", "p1", "p2", "p3", "p4"]
    newer = await api("GET", f"{PODS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
    assert names(newer) == ["p1", "p2", "p3", "p4"]


async def test_a_page_of_a_version_is_of_that_version(api: Calls) -> None:
    then = (await api("GET", PODS)).json["metadata"]["resourceVersion"]
    await api("DELETE", f"{PODS}/p0", {"gracePeriodSeconds": 0})
    assert names(await api("GET", f"{PODS}?resourceVersion={then}&limit=2")) == ["p0", "p1"]
    assert names(await api("GET", f"{PODS}?resourceVersion={then}")) == ["p1", "p2", "p3", "p4"]


@pytest.mark.parametrize(
    "query, status, words",
    [
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422, 'is forbidden for resourceVersion \\"0\\"'),
        ("resourceVersionMatch=Newest&resourceVersion=1", 422, 'supported values: \\"Exact\\", \\"NotOlderThan\\"'),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("resourceVersion=1&continue=abc", 400, "specifying resource version is not allowed when using continue"),
        ("watch=1&resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden for watch unless"),
        ("watch=1&sendInitialEvents=true", 422, "sendInitialEvents requires setting resourceVersionMatch"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(api: Calls, query: str, status: int, words: str) -> None:
    answer = await api("GET", f"{PODS}?{query}")
    assert answer.status == status
    assert words in answer.body.decode()


async def test_a_version_that_has_not_come_yet_is_too_large(api: Calls) -> None:
    answer = await api("GET", f"{PODS}?resourceVersion=999999")
    assert answer.status == 504
    assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert answer.headers["retry-after"] == "1"


async def test_kubectl_gets_rows(api: Calls) -> None:
    table: dict[str, Any] = (await api("GET", PODS, accept=TABLE)).json
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][0] == "p0"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert "spec" not in table["rows"][0]["object"]


@pytest.mark.parametrize("include, has", [("Object", True), ("None", False)])
async def test_rows_carry_what_was_asked_for(api: Calls, include: str, has: bool) -> None:
    table = (await api("GET", f"{PODS}/p0?includeObject={include}", accept=TABLE)).json
    assert ("object" in table["rows"][0]) is has
    assert not has or table["rows"][0]["object"]["spec"]["nodeName"] == "n0"


async def test_metadata_alone_can_be_asked_for(api: Calls) -> None:
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    found = (await api("GET", PODS, accept=accept)).json
    assert found["kind"] == "PartialObjectMetadataList"
    assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}
