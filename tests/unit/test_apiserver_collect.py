"""Unit tests of `fairway.apiserver.collect`: what goes when something else has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairway.apiserver.collect import Collector
from tests.unit.api_calls import MERGE, Calls, pod, service, start

PODS = "/api/v1/namespaces/default/pods"
SETS = "/apis/apps/v1/namespaces/default/replicasets"


@pytest.fixture
async def api() -> Calls:
    return await start()


@pytest.fixture
async def collecting(api: Calls) -> AsyncIterator[Calls]:
    task = asyncio.create_task(Collector(api.app.registry).run())
    yield api
    api.app.registry.storage.close()
    await asyncio.wait_for(task, 30)


async def replica_set(api: Calls, name: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": pod("x")["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    created: dict[str, Any] = (await api("POST", SETS, {"metadata": {"name": name}, "spec": spec})).json
    return created


def owned_by(*owners: dict[str, Any], blocking: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocking,
        }
        for owner in owners
    ]


async def gone(api: Calls, path: str) -> None:
    """Wait until there is nothing at a path."""
    collection, _, name = path.rpartition("/")
    async with api.watch(f"{collection}?fieldSelector=metadata.name%3D{name}") as watching:
        while (await watching.next())["type"] != "DELETED":
            pass


async def test_dependents_go_when_their_owner_has_gone(collecting: Calls) -> None:
    owner = await replica_set(collecting, "rs")
    await collecting("POST", PODS, pod("a", ownerReferences=owned_by(owner)))
    async with collecting.watch(f"{PODS}?fieldSelector=metadata.name%3Da") as watching:
        await collecting("DELETE", f"{SETS}/rs")
        assert await watching.told() == ("ADDED", "a")
        assert await watching.told() == ("DELETED", "a")


async def test_a_dependent_of_an_owner_that_never_was_goes(collecting: Calls) -> None:
    owner = {"metadata": {"name": "never", "uid": "0"}}
    async with collecting.watch(PODS) as watching:
        await collecting("POST", PODS, pod("a", ownerReferences=owned_by(owner)))
        assert await watching.told() == ("ADDED", "a")
        assert await watching.told() == ("DELETED", "a")


async def test_a_dependent_that_was_left_over_goes_at_the_next_start(api: Calls) -> None:
    owner = await replica_set(api, "rs")
    await api("POST", PODS, pod("a", ownerReferences=owned_by(owner)))
    await api("DELETE", f"{SETS}/rs")
    async with api.watch(PODS) as watching:
        assert await watching.told() == ("ADDED", "a")
        task = asyncio.create_task(Collector(api.app.registry).run())
        assert await watching.told() == ("DELETED", "a")
        api.app.registry.storage.close()
        await asyncio.wait_for(task, 30)


async def test_with_another_owner_left_a_dependent_stays_and_forgets_the_one_that_went(collecting: Calls) -> None:
    one, two = await replica_set(collecting, "one"), await replica_set(collecting, "two")
    await collecting("POST", PODS, pod("a", ownerReferences=owned_by(one, two)))
    async with collecting.watch(PODS) as watching:
        assert await watching.told() == ("ADDED", "a")
        await collecting("DELETE", f"{SETS}/one")
        line = await watching.next()
        assert line["type"] == "MODIFIED"
        assert [owner["name"] for owner in line["object"]["metadata"]["ownerReferences"]] == ["two"]


async def test_orphans_stay(collecting: Calls) -> None:
    owner = await replica_set(collecting, "rs")
    await collecting("POST", PODS, pod("a", ownerReferences=owned_by(owner)))
    await collecting("DELETE", f"{SETS}/rs", {"propagationPolicy": "Orphan"})
    if (await collecting("GET", f"{SETS}/rs")).status == 200:
        await gone(collecting, f"{SETS}/rs")
    left = (await collecting("GET", f"{PODS}/a")).json
    assert "ownerReferences" not in left["metadata"]


async def test_in_the_foreground_dependents_go_first(collecting: Calls) -> None:
    owner = await replica_set(collecting, "rs")
    running = pod("a", ownerReferences=owned_by(owner, blocking=True))
    running["spec"]["nodeName"] = "one"
    await collecting("POST", PODS, running)
    async with collecting.watch(PODS) as watching:
        assert await watching.told() == ("ADDED", "a")
        await collecting("DELETE", f"{SETS}/rs", {"propagationPolicy": "Foreground"})
        line = await watching.next()
        assert line["object"]["metadata"]["deletionTimestamp"]
        waiting = (await collecting("GET", f"{SETS}/rs")).json
        assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
        async with collecting.watch(f"{SETS}?fieldSelector=metadata.name%3Drs") as sets:
            await collecting("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
            assert await sets.told() == ("ADDED", "rs")
            while (await sets.next())["type"] != "DELETED":
                pass


async def test_a_namespace_goes_with_everything_in_it(collecting: Calls) -> None:
    await collecting("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    for number in range(3):
        await collecting("POST", "/api/v1/namespaces/shop/services", service(f"s{number}"))
        await collecting("POST", "/api/v1/namespaces/shop/pods", pod(f"p{number}"))
    async with collecting.watch("/api/v1/namespaces?fieldSelector=metadata.name%3Dshop") as watching:
        await collecting("DELETE", "/api/v1/namespaces/shop")
        while (await watching.next())["type"] != "DELETED":
            pass
    listing = await collecting.app.registry.storage.list("/")
    assert not [entry.key for entry in listing.entries if "/shop/" in entry.key]


async def test_a_namespace_waits_for_a_finalizer_in_it(collecting: Calls) -> None:
    await collecting("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    held = service("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    path = "/api/v1/namespaces/shop/services"
    await collecting("POST", path, held)
    async with collecting.watch(path) as services:
        assert await services.told() == ("ADDED", "held")
        await collecting("DELETE", "/api/v1/namespaces/shop")
        assert await services.told() == ("MODIFIED", "held")
    assert (await collecting("GET", "/api/v1/namespaces/shop")).status == 200
    async with collecting.watch("/api/v1/namespaces?fieldSelector=metadata.name%3Dshop") as watching:
        await collecting("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
        while (await watching.next())["type"] != "DELETED":
            pass
