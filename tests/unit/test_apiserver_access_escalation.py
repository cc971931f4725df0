"""Unit tests of `fairway.apiserver.access.escalation`, through the whole application: nobody gives what they lack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.access.escalation import covers
from fairway.apiserver.access.rules import Rule
from fairway.apiserver.access.users import User
from fairway.apiserver.server import Proofs, create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from tests.unit.api_calls import APPLY, MERGE, Answer, Calls

GROUP = "rbac.authorization.k8s.io"
ROOT = f"/apis/{GROUP}/v1"
HERE = f"{ROOT}/namespaces/default"
PODS: Any = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
SECRETS: Any = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
WRITES_ROLES: Any = {
    "apiGroups": [GROUP],
    "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    "verbs": ["create", "get", "update", "patch"],
}
NOT_HELD = (
    'user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
    '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
)


def role(name: str, *rules: Any, **more: Any) -> Any:
    return {"metadata": {"name": name}, "rules": list(rules), **more}


def binding(name: str, to: str, kind: str = "Role", user: str = "bob") -> Any:
    reference = {"apiGroup": GROUP, "kind": kind, "name": to}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [{"kind": "User", "name": user}]}


class World:
    def __init__(self, ann: Calls, root: Calls) -> None:
        self.ann, self.root = ann, root

    async def give(self, *rules: Any) -> None:
        """Ann's rights in the namespace default, beside writing roles."""
        await self.done(self.root("POST", f"{HERE}/roles", role("ann", WRITES_ROLES, *rules)))
        await self.done(self.root("POST", f"{HERE}/rolebindings", binding("ann", "ann", user="ann")))

    async def done(self, call: Any) -> Answer:
        answer: Answer = await call
        assert answer.status in (200, 201), answer.json
        for _ in range(5):
            await asyncio.sleep(0)
        return answer


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    users = {"root": User("root", ("system:masters",)), "ann": User("ann")}
    settings = Settings(data_directory=tmp_path)
    app = await create_app(MemoryStorage(), settings, proofs=Proofs(tokens=users))
    following = asyncio.create_task(app.authorizer.follow())
    yield World(*(Calls(app, authorization=f"Bearer {name}") for name in ("ann", "root")))
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def test_a_role_may_hold_what_its_author_holds_and_no_more(world: World) -> None:
    await world.give(PODS)
    await world.done(world.ann("POST", f"{HERE}/roles", role("reader", PODS)))
    answer = await world.ann("POST", f"{HERE}/roles", role("thief", PODS, SECRETS))
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.json["message"] == f'roles.{GROUP} "thief" is forbidden: {NOT_HELD}'
    assert answer.json["details"] == {"name": "thief", "group": GROUP, "kind": "roles"}


@pytest.mark.parametrize("how", ["PUT", "PATCH", "apply"])
async def test_a_role_does_not_grow_beyond_its_author_either(world: World, how: str) -> None:
    await world.give(PODS)
    await world.done(world.ann("POST", f"{HERE}/roles", role("reader", PODS)))
    grown = role("reader", SECRETS)
    if how == "PUT":
        answer = await world.ann("PUT", f"{HERE}/roles/reader", grown)
    elif how == "PATCH":
        answer = await world.ann("PATCH", f"{HERE}/roles/reader", {"rules": [SECRETS]}, content_type=MERGE)
    else:
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Role", **grown}
        url = f"{HERE}/roles/reader?fieldManager=me&force=true"
        answer = await world.ann("PATCH", url, body, content_type=APPLY)
    assert answer.status == 403
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert (await world.ann("PATCH", f"{HERE}/roles/reader", labelled, content_type=MERGE)).status == 200


async def test_a_role_somebody_else_made_may_be_labelled_by_one_who_lacks_its_rules(world: World) -> None:
    await world.give()
    await world.done(world.root("POST", f"{HERE}/roles", role("theirs", SECRETS)))
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert (await world.ann("PATCH", f"{HERE}/roles/theirs", labelled, content_type=MERGE)).status == 200


async def test_a_binding_gives_a_role_and_so_needs_its_rules(world: World) -> None:
    await world.give(PODS)
    await world.done(world.root("POST", f"{HERE}/roles", role("theirs", SECRETS)))
    await world.done(world.root("POST", f"{HERE}/roles", role("reader", PODS)))
    await world.done(world.ann("POST", f"{HERE}/rolebindings", binding("fine", "reader")))
    answer = await world.ann("POST", f"{HERE}/rolebindings", binding("theft", "theirs"))
    assert answer.json["message"] == f'rolebindings.{GROUP} "theft" is forbidden: {NOT_HELD}'
    cluster_role = await world.ann("POST", f"{HERE}/rolebindings", binding("theft", "cluster-admin", "ClusterRole"))
    assert cluster_role.status == 403
    lost = await world.ann("POST", f"{HERE}/rolebindings", binding("lost", "nowhere"))
    assert (lost.status, lost.json["message"]) == (404, f'roles.{GROUP} "nowhere" not found')
    more = {"subjects": [{"kind": "User", "name": "eve"}]}
    assert (await world.ann("PATCH", f"{HERE}/rolebindings/fine", more, content_type=MERGE)).status == 200


async def test_what_is_held_in_a_namespace_is_not_given_everywhere(world: World) -> None:
    await world.give(PODS)
    await world.done(world.root("POST", f"{ROOT}/clusterroles", role("writer", WRITES_ROLES)))
    await world.done(
        world.root("POST", f"{ROOT}/clusterrolebindings", binding("w", "writer", "ClusterRole", user="ann"))
    )
    assert (await world.ann("POST", f"{ROOT}/clusterroles", role("reader", PODS))).status == 403
    own = role("writer-2", {**WRITES_ROLES, "verbs": ["get"]})
    assert (await world.ann("POST", f"{ROOT}/clusterroles", own)).status == 201


@pytest.mark.parametrize(
    "verb, resource, path, document",
    [
        ("escalate", "roles", "roles", role("thief", SECRETS)),
        ("bind", "roles", "rolebindings", binding("theft", "theirs")),
    ],
)
async def test_the_verbs_that_allow_it(world: World, verb: str, resource: str, path: str, document: Any) -> None:
    rule = {"apiGroups": [GROUP], "resources": [resource], "verbs": [verb]}
    await world.give(rule)
    await world.done(world.root("POST", f"{HERE}/roles", role("theirs", SECRETS)))
    assert (await world.ann("POST", f"{HERE}/{path}", document)).status == 201


async def test_a_role_that_will_be_filled_by_others_needs_everything(world: World) -> None:
    await world.done(world.root("POST", f"{ROOT}/clusterroles", role("writer", WRITES_ROLES)))
    await world.done(
        world.root("POST", f"{ROOT}/clusterrolebindings", binding("w", "writer", "ClusterRole", user="ann"))
    )
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    answer = await world.ann("POST", f"{ROOT}/clusterroles", role("all", aggregationRule=rule))
    assert answer.status == 403
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in answer.json["message"]


def rule(verbs: str, groups: str = "", resources: str = "pods", names: str = "", urls: str = "") -> Rule:
    if urls:
        return Rule(verbs=tuple(verbs.split()), non_resource_urls=tuple(urls.split()))
    named = tuple(names.split()) or None
    return Rule(
        verbs=tuple(verbs.split()), api_groups=(groups,), resources=tuple(resources.split()), resource_names=named
    )


@pytest.mark.parametrize(
    "held, part, expected",
    [
        (rule("get list"), rule("get"), True),
        (rule("*"), rule("get"), True),
        (rule("get"), rule("*"), False),
        (rule("get", "*", "*"), rule("get", "apps", "deployments"), True),
        (rule("get", "", "pods"), rule("get", "", "pods/status"), False),
        (rule("get", "", "*/status"), rule("get", "", "pods/status"), True),
        (rule("get"), rule("get", names="a"), True),
        (rule("get", names="a b"), rule("get", names="a"), True),
        (rule("get", names="a"), rule("get"), False),
        (rule("get", names="a"), rule("get", names="b"), False),
        (rule("get", urls="/api/*"), rule("get", urls="/api/v1"), True),
        (rule("get", urls="/api/*"), rule("get", urls="/api/*"), True),
        (rule("get", urls="/api/v1"), rule("get", urls="/api/*"), False),
        (rule("get", urls="/api/*"), rule("get"), False),
        (rule("get"), rule("get", urls="/api"), False),
    ],
)
def test_what_a_rule_covers(held: Rule, part: Rule, expected: bool) -> None:
    assert covers(held, part) is expected
