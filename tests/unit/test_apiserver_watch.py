"""Unit tests of `fairway.apiserver.watch`: what a client is told, from when on, and how it ends."""

from __future__ import annotations

import pytest

from tests.unit.api_calls import MERGE, Calls, pod, start

PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def api() -> Calls:
    return await start()


async def version(api: Calls) -> str:
    return str((await api("GET", PODS)).json["metadata"]["resourceVersion"])


async def label(api: Calls, name: str, value: str | None) -> None:
    await api("PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"tier": value}}}, content_type=MERGE)


async def test_a_watch_tells_what_happens_after_its_version(api: Calls) -> None:
    await api("POST", PODS, pod("before"))
    async with api.watch(f"{PODS}?resourceVersion={await version(api)}") as watching:
        created = (await api("POST", PODS, pod("a"))).json
        added = await watching.next()
        assert added == {"type": "ADDED", "object": created}
        await label(api, "a", "x")
        assert await watching.told() == ("MODIFIED", "a")
        await api("DELETE", f"{PODS}/a")
        deleted = await watching.next()
        assert deleted["type"] == "DELETED"
        assert deleted["object"]["metadata"]["labels"] == {"tier": "x"}
        assert deleted["object"]["metadata"]["resourceVersion"] == await version(api)


async def test_a_watch_from_the_past_is_replayed(api: Calls) -> None:
    then = await version(api)
    await api("POST", PODS, pod("a"))
    await label(api, "a", "x")
    await api("DELETE", f"{PODS}/a")
    async with api.watch(f"{PODS}?resourceVersion={then}") as watching:
        assert [await watching.told() for _ in range(3)] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


@pytest.mark.parametrize("query", ["", "?resourceVersion=0"])
async def test_without_a_version_a_watch_begins_with_what_there_is(api: Calls, query: str) -> None:
    await api("POST", PODS, pod("a"))
    async with api.watch(PODS + query) as watching:
        assert await watching.told() == ("ADDED", "a")
        await api("POST", PODS, pod("b"))
        assert await watching.told() == ("ADDED", "b")


async def test_initial_events_end_with_a_bookmark(api: Calls) -> None:
    await api("POST", PODS, pod("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"{PODS}?{query}") as watching:
        assert await watching.told() == ("ADDED", "a")
        bookmark = await watching.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "Pod"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert bookmark["object"]["metadata"]["resourceVersion"] == await version(api)


async def test_without_initial_events_a_watch_begins_now(api: Calls) -> None:
    await api("POST", PODS, pod("a"))
    async with api.watch(f"{PODS}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as watching:
        await api("POST", PODS, pod("b"))
        assert await watching.told() == ("ADDED", "b")


async def test_selectors_turn_changes_into_comings_and_goings(api: Calls) -> None:
    await api("POST", PODS, pod("a", labels={"tier": "x"}))
    async with api.watch(f"{PODS}?labelSelector=tier%3Dy&resourceVersion={await version(api)}") as watching:
        await label(api, "a", "y")
        assert await watching.told() == ("ADDED", "a")
        await api("PATCH", f"{PODS}/a", {"metadata": {"annotations": {"n": "1"}}}, content_type=MERGE)
        assert await watching.told() == ("MODIFIED", "a")
        await label(api, "a", "z")
        line = await watching.next()
        assert (line["type"], line["object"]["metadata"]["labels"]) == ("DELETED", {"tier": "z"})
        await api("DELETE", f"{PODS}/a")
        await api("POST", PODS, pod("b", labels={"tier": "y"}))
        assert await watching.told() == ("ADDED", "b")


async def test_one_object_can_be_watched_by_its_path(api: Calls) -> None:
    await api("POST", PODS, pod("a"))
    await api("POST", PODS, pod("b"))
    async with api.watch(f"{PODS}/b") as watching:
        assert await watching.told() == ("ADDED", "b")
        await label(api, "a", "x")
        await label(api, "b", "x")
        assert await watching.told() == ("MODIFIED", "b")


async def test_a_forgotten_version_has_expired(api: Calls) -> None:
    then = await version(api)
    await api("POST", PODS, pod("a"))
    await api.app.registry.storage.compact(api.app.registry.storage.revision)
    async with api.watch(f"{PODS}?resourceVersion={then}") as watching:
        line = await watching.next()
        assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await watching.next() is None


async def test_a_version_of_another_life_has_expired_too(api: Calls) -> None:
    async with api.watch(f"{PODS}?resourceVersion=999999") as watching:
        assert (await watching.next())["object"]["code"] == 410


async def test_a_table_names_its_columns_once(api: Calls) -> None:
    async with api.watch(f"{PODS}?resourceVersion={await version(api)}", accept=TABLE) as watching:
        await api("POST", PODS, pod("a"))
        await api("POST", PODS, pod("b"))
        first, second = (await watching.next())["object"], (await watching.next())["object"]
        assert first["columnDefinitions"]
        assert not second["columnDefinitions"]
        assert second["rows"][0]["cells"][0] == "b"


async def test_a_watch_ends_when_its_time_is_over(api: Calls) -> None:
    async with api.watch(f"{PODS}?resourceVersion={await version(api)}&timeoutSeconds=1") as watching:
        assert await watching.next() is None


async def test_a_watch_ends_when_the_client_hangs_up(api: Calls) -> None:
    async with api.watch(f"{PODS}?resourceVersion={await version(api)}") as watching:
        watching.hang_up.set()
        assert await watching.next() is None


async def test_a_watch_ends_when_the_server_stops_and_none_begins(api: Calls) -> None:
    async with api.watch(PODS) as watching:
        await api("POST", PODS, pod("a"))
        assert await watching.told() == ("ADDED", "a")
        api.app.stop()
        assert await watching.next() is None
    assert (await api("GET", f"{PODS}?watch=1")).status == 503


async def test_watches_share_the_encoded_line(api: Calls) -> None:
    then = await version(api)
    async with api.watch(f"{PODS}?resourceVersion={then}") as one, api.watch(f"{PODS}?resourceVersion={then}") as two:
        await api("POST", PODS, pod("a"))
        assert await one.next() == await two.next()
