"""Unit tests of `fairway.apiserver.access.aggregation`: ClusterRoles that are made of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairway.apiserver.access.aggregation import aggregate_once, aggregate_roles
from fairway.objects.resources import CLUSTER_ROLES
from fairway.runtime.clock import SystemClock
from tests.unit.api_calls import MERGE, Calls, start

HERE = CLUSTER_ROLES.path()
RULE: Any = {"clusterRoleSelectors": [{"matchLabels": {"into": "all"}}, {"matchLabels": {"into": "more"}}]}


def reads(resource: str) -> Any:
    return {"apiGroups": [""], "resources": [resource], "verbs": ["get"]}


def role(name: str, *rules: Any, into: str = "", **more: Any) -> Any:
    labels = {"labels": {"into": into}} if into else {}
    return {"metadata": {"name": name, **labels}, "rules": list(rules), **more}


async def rules_of(calls: Calls, name: str = "all") -> Any:
    return (await calls("GET", f"{HERE}/{name}")).json.get("rules")


async def test_a_role_has_the_rules_of_those_its_selectors_match_each_once() -> None:
    calls = await start()
    for document in (
        role("all", reads("secrets"), into="all", aggregationRule=RULE),
        role("b", reads("pods"), reads("nodes"), into="all"),
        role("a", reads("services"), into="more"),
        role("c", reads("pods"), into="more"),
        role("d", reads("events"), into="other"),
    ):
        assert (await calls("POST", HERE, document)).status == 201
    await aggregate_once(calls.app.registry)
    assert await rules_of(calls) == [reads("services"), reads("pods"), reads("nodes")]
    before = calls.app.registry.storage.revision
    assert await aggregate_once(calls.app.registry) == before
    assert calls.app.registry.storage.revision == before


async def test_roles_that_come_change_and_go_are_followed() -> None:
    calls = await start()
    running = asyncio.create_task(aggregate_roles(calls.app.registry, SystemClock()))
    try:
        async with calls.watch(f"{HERE}?fieldSelector=metadata.name=all") as watch:

            async def until(*resources: str) -> None:
                async with asyncio.timeout(30):
                    while (await watch.next())["object"].get("rules") != [reads(one) for one in resources]:
                        pass

            await calls("POST", HERE, role("a", reads("pods"), into="all"))
            await calls("POST", HERE, {"metadata": {"name": "all"}, "aggregationRule": RULE})
            await until("pods")
            await calls("PATCH", f"{HERE}/a", {"rules": [reads("nodes")]}, content_type=MERGE)
            await until("nodes")
            await calls("PATCH", f"{HERE}/all", {"rules": [reads("secrets")]}, content_type=MERGE)
            await until("secrets")
            await until("nodes")
            await calls("DELETE", f"{HERE}/a")
            await until()
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize(
    "rule, path",
    [
        ({}, "aggregationRule.clusterRoleSelectors: Required value"),
        ({"clusterRoleSelectors": []}, "aggregationRule.clusterRoleSelectors: Required value"),
        (
            {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Maybe"}]}]},
            "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value",
        ),
    ],
)
async def test_a_rule_without_a_selector_that_can_be_read_is_refused(rule: Any, path: str) -> None:
    answer = await (await start())("POST", HERE, {"metadata": {"name": "all"}, "aggregationRule": rule})
    assert answer.status == 422
    assert path in answer.json["message"]
