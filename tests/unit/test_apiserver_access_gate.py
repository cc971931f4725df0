"""Unit tests of `fairway.apiserver.access.gate`, through the whole application: who gets in, and who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.access.limits import RequestLimits
from fairway.apiserver.access.users import User
from fairway.apiserver.app import App
from fairway.apiserver.server import Proofs, create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from tests.unit.api_calls import Answer, Calls, service

SERVICES = "/api/v1/namespaces/default/services"
ROLES = "/apis/rbac.authorization.k8s.io/v1"
APPLY = "application/apply-patch+yaml"
TOKENS = {
    "root": User("root", ("system:masters",)),
    "ann": User("ann", ("fairway:viewers",)),
    "bob": User("bob"),
    "node": User("system:node:a", ("system:nodes",)),
    "wrong-node": User("a", ("system:nodes",)),
    "controllers": User("c", ("system:fairway-controllers",)),
}


@dataclass
class World:
    app: App

    def __call__(self, who: str, **headers: str) -> Calls:
        """Requests of a user, of a stranger when ``who`` is empty."""
        return Calls(self.app, **({"authorization": f"Bearer {who}"} if who else {}), **headers)

    async def allow(self, user: str, *rules: dict[str, Any]) -> None:
        """A role for one user in the namespace default."""
        root, place = self("root"), f"{ROLES}/namespaces/default"
        answer = await root("POST", f"{place}/roles", {"metadata": {"name": user}, "rules": list(rules)})
        assert answer.status == 201, answer.json
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
        bound = {"metadata": {"name": user}, "roleRef": reference, "subjects": [{"kind": "User", "name": user}]}
        assert (await root("POST", f"{place}/rolebindings", bound)).status == 201
        await self.settled()

    async def settled(self) -> None:
        """Until every change of the roles has been taken over."""
        for _ in range(5):
            await asyncio.sleep(0)


async def open_world(directory: Path, limits: RequestLimits | None = None) -> App:
    settings = Settings(data_directory=directory, advertise_address="192.0.2.1", limits=limits or RequestLimits())
    return await create_app(MemoryStorage(), settings, proofs=Proofs(tokens=TOKENS))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    app = await open_world(tmp_path)
    following = asyncio.create_task(app.authorizer.follow())
    yield World(app)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def message(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["message"]


async def test_a_stranger_learns_health_and_version_only(world: World) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert (await world("")("GET", path)).status == 200
    assert message(await world("")("GET", "/api")) == (403, 'forbidden: User "system:anonymous" cannot get path "/api"')
    assert message(await world("")("GET", SERVICES)) == (
        403,
        'services is forbidden: User "system:anonymous" cannot list resource "services" in API group "" '
        'in the namespace "default"',
    )


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic cm9vdDpyb290", "Bearer ", "root", "Bearer a.b.c"])
async def test_a_proof_that_does_not_hold_is_not_nobodys(world: World, header: str) -> None:
    for path in (SERVICES, "/healthz"):
        answer = await Calls(world.app, authorization=header)("GET", path)
        assert (answer.status, answer.json["reason"]) == (401, "Unauthorized")


async def test_a_viewer_reads_everything_but_secrets(world: World) -> None:
    ann = world("ann")
    for path in (SERVICES, "/api/v1/nodes", f"{ROLES}/clusterroles", "/api/v1/pods?limit=1"):
        assert (await ann("GET", path)).status == 200
    for method, path in (
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/default/secrets/x"),
        ("POST", SERVICES),
        ("PUT", f"{SERVICES}/kubernetes"),
        ("PATCH", f"{SERVICES}/kubernetes"),
        ("DELETE", f"{SERVICES}/kubernetes"),
        ("DELETE", SERVICES),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ):
        assert (await ann(method, path, service("web"))).status == 403, (method, path)


async def test_a_refusal_says_what_it_is_about(world: World) -> None:
    answer = await world("bob")("GET", "/apis/apps/v1/namespaces/default/deployments/web/scale")
    assert message(answer) == (
        403,
        'deployments.apps "web" is forbidden: User "bob" cannot get resource "deployments/scale" '
        'in API group "apps" in the namespace "default"',
    )
    assert answer.json["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    answer = await world("bob")("GET", "/api/v1/nodes")
    assert answer.json["message"].endswith("at the cluster scope")


async def test_a_role_counts_from_the_next_request_on(world: World) -> None:
    assert (await world("bob")("GET", SERVICES)).status == 403
    await world.allow("bob", {"verbs": ["list"], "apiGroups": [""], "resources": ["services"]})
    assert (await world("bob")("GET", SERVICES)).status == 200
    assert (await world("bob")("GET", f"{SERVICES}/kubernetes")).status == 403
    assert (await world("bob")("GET", "/api/v1/services")).status == 403
    await world("root")("DELETE", f"{ROLES}/namespaces/default/rolebindings/bob")
    await world.settled()
    assert (await world("bob")("GET", SERVICES)).status == 403


async def test_asking_for_one_name_needs_only_that_name(world: World) -> None:
    rule = {"verbs": ["list"], "apiGroups": [""], "resources": ["services"], "resourceNames": ["kubernetes"]}
    await world.allow("bob", rule)
    answer = await world("bob")("GET", f"{SERVICES}?fieldSelector=metadata.name%3Dkubernetes")
    assert [one["metadata"]["name"] for one in answer.json["items"]] == ["kubernetes"]
    assert (await world("bob")("GET", SERVICES)).status == 403
    assert (await world("bob")("GET", f"{SERVICES}?fieldSelector=metadata.name%21%3Dx")).status == 403


async def test_who_may_replace_may_not_therefore_create(world: World) -> None:
    await world.allow("bob", {"verbs": ["update", "patch"], "apiGroups": [""], "resources": ["services"]})
    bob = world("bob")
    words = 'cannot create resource "services"'
    replaced = await bob("PUT", f"{SERVICES}/web", service("web"))
    applied = await bob("PATCH", f"{SERVICES}/web?fieldManager=x", service("web"), content_type=APPLY)
    for answer in (replaced, applied):
        assert answer.status == 403
        assert words in answer.json["message"]
    assert (await world("root")("POST", SERVICES, service("web"))).status == 201
    applied = await bob("PATCH", f"{SERVICES}/web?fieldManager=x&force=1", service("web"), content_type=APPLY)
    assert applied.status == 200


def node(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


@pytest.mark.parametrize("who", ["node", "wrong-node"])
async def test_a_node_writes_no_other_node(world: World, who: str) -> None:
    calls = world(who)
    assert (await calls("POST", "/api/v1/nodes", node("b"))).status == 403
    assert (await calls("POST", "/api/v1/nodes", {**node("b"), "metadata": {"generateName": "a"}})).status == 403
    assert (await world("root")("POST", "/api/v1/nodes", node("b"))).status == 201
    assert (await calls("DELETE", "/api/v1/nodes/b")).status == 403
    assert (await calls("DELETE", "/api/v1/nodes")).status == 403
    assert (await calls("PUT", "/api/v1/nodes/b/status", node("b"))).status == 403
    assert (await calls("GET", "/api/v1/nodes/b")).status == 200


async def test_a_node_writes_its_own_node_and_lease(world: World) -> None:
    calls, leases = world("node"), "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    lease = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "a"}}
    assert (await calls("POST", "/api/v1/nodes", node("a"))).status == 201
    assert (await calls("POST", leases, lease)).status == 201
    assert (await calls("POST", leases, {"metadata": {"name": "b"}})).status == 403
    assert (await calls("POST", leases.replace("kube-node-lease", "default"), lease)).status == 403
    # A name in the body does not lead elsewhere than the path.
    everywhere = "/apis/coordination.k8s.io/v1/leases"
    moved = {"metadata": {"name": "a", "namespace": "default"}}
    assert (await calls("POST", everywhere, moved)).status == 403


async def test_controllers_read_no_secrets_and_give_no_roles(world: World) -> None:
    calls = world("controllers")
    assert (await calls("POST", SERVICES, service("web"))).status == 201
    assert (await calls("GET", "/api/v1/secrets")).status == 403
    assert (await calls("POST", f"{ROLES}/clusterrolebindings", {"metadata": {"name": "x"}})).status == 403


async def test_acting_for_others_takes_a_permission(world: World) -> None:
    whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    as_ann = {"impersonate_user": "ann"}
    answer = await world("root", **as_ann, impersonate_group="staff")("POST", whoami, {})
    assert answer.json["status"]["userInfo"] == {"username": "ann", "groups": ["staff", "system:authenticated"]}
    assert (await world("ann", **as_ann)("POST", whoami, {})).status == 403
    assert (await world("root", impersonate_group="staff")("POST", whoami, {})).status == 400
    assert (await world("root", **as_ann, impersonate_extra_x="y")("POST", whoami, {})).status == 400
    assert (await world("root", **as_ann)("GET", "/api/v1/secrets")).status == 403


async def test_too_many_at_once_are_told_when_to_come_back(tmp_path: Path) -> None:
    world = World(await open_world(tmp_path, RequestLimits(rate=0.001, burst=1)))
    assert (await world("ann")("GET", SERVICES)).status == 200
    answer = await world("ann")("GET", SERVICES)
    assert message(answer) == (429, "Too many requests, please try again later.")
    assert answer.headers["retry-after"] == "1000"
    assert (await world("root")("GET", SERVICES)).status == 200


@pytest.mark.parametrize(
    "asked, allowed",
    [
        ({"resourceAttributes": {"verb": "list", "resource": "services", "namespace": "default"}}, True),
        ({"resourceAttributes": {"verb": "list", "resource": "secrets", "namespace": "default"}}, False),
        ({"resourceAttributes": {"verb": "get", "resource": "nodes", "name": "x"}}, True),
        ({"nonResourceAttributes": {"verb": "get", "path": "/version"}}, True),
        ({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}, False),
    ],
)
async def test_may_i(world: World, asked: dict[str, Any], allowed: bool) -> None:
    review = "/apis/authorization.k8s.io/v1"
    answer = await world("ann")("POST", f"{review}/selfsubjectaccessreviews", {"spec": asked})
    assert answer.json["status"]["allowed"] is allowed
    spec = {**asked, "user": "ann", "groups": ["fairway:viewers", "system:authenticated"]}
    answer = await world("root")("POST", f"{review}/subjectaccessreviews", {"spec": spec})
    assert answer.json["status"]["allowed"] is allowed


@pytest.mark.parametrize(
    "plural, body",
    [
        ("selfsubjectaccessreviews", {"spec": {}}),
        ("selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": 7}}}),
        ("selfsubjectaccessreviews", {"kind": "TokenReview"}),
        ("selfsubjectrulesreviews", {"spec": {}}),
        ("subjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}),
    ],
)
async def test_a_question_that_asks_nothing_is_a_bad_request(world: World, plural: str, body: Any) -> None:
    assert (await world("root")("POST", f"/apis/authorization.k8s.io/v1/{plural}", body)).status == 400


async def test_an_answer_is_remembered_for_the_user_who_asked(world: World) -> None:
    """The same question by another user, or by the same user in other groups, is another question."""
    ask: Callable[[str], Calls] = world
    for _ in range(2):
        assert (await ask("ann")("GET", SERVICES)).status == 200
        assert (await ask("bob")("GET", SERVICES)).status == 403
        assert (await world("root", impersonate_user="ann")("GET", SERVICES)).status == 403
