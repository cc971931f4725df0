"""Unit tests of `fairway.apiserver.access.service_accounts`: tokens given out, believed, and believed no longer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.access.jws import SigningKey
from fairway.apiserver.access.service_accounts import ISSUER
from fairway.apiserver.access.users import User
from fairway.apiserver.server import Proofs, create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.runtime.clock import FakeClock
from tests.unit.api_calls import Answer, Calls, pod

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
ROOT = "root-token"


@dataclass
class World:
    root: Calls
    clock: FakeClock
    key: SigningKey

    async def token(self, **spec: Any) -> str:
        answer = await self.root("POST", f"{ACCOUNTS}/bot/token", {"spec": spec})
        assert answer.status == 201, answer.json
        return str(answer.json["status"]["token"])

    async def whoami(self, token: str) -> Answer:
        return await Calls(self.root.app, authorization=f"Bearer {token}")("POST", WHOAMI, {})

    async def believed(self, token: str) -> bool:
        return (await self.whoami(token)).status == 201


@pytest.fixture
async def world(tmp_path: Path) -> World:
    clock, key = FakeClock(), SigningKey.fresh()
    proofs = Proofs(key, {ROOT: User("root", ("system:masters",))})
    settings = Settings(data_directory=tmp_path, advertise_address="192.0.2.1")
    app = await create_app(MemoryStorage(), settings, proofs=proofs, clock=clock)
    root = Calls(app, authorization=f"Bearer {ROOT}")
    assert (await root("POST", ACCOUNTS, {"metadata": {"name": "bot"}})).status == 201
    return World(root, clock, key)


async def test_the_claims_are_those_of_kubernetes(world: World) -> None:
    now = int(world.clock.now())
    claims = world.key.verify(await world.token())
    uid = (await world.root("GET", f"{ACCOUNTS}/bot")).json["metadata"]["uid"]
    assert claims.pop("jti")
    assert claims == {
        "aud": [ISSUER],
        "iss": ISSUER,
        "sub": "system:serviceaccount:default:bot",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "bot", "uid": uid}},
    }


async def test_a_token_is_its_account(world: World) -> None:
    info = (await world.whoami(await world.token())).json["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:bot"
    assert info["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]


async def test_a_token_ends_when_it_says(world: World) -> None:
    token = await world.token(expirationSeconds=600)
    world.clock.advance(598)
    assert await world.believed(token)
    world.clock.advance(2)
    assert not await world.believed(token)


async def test_a_token_ends_with_its_account_even_if_another_has_the_name(world: World) -> None:
    token = await world.token()
    assert await world.believed(token)
    await world.root("DELETE", f"{ACCOUNTS}/bot")
    assert not await world.believed(token)
    await world.root("POST", ACCOUNTS, {"metadata": {"name": "bot"}})
    assert not await world.believed(token)


async def test_a_bound_token_ends_with_its_pod(world: World) -> None:
    document = pod("web")
    document["spec"]["serviceAccountName"] = "bot"
    pods = "/api/v1/namespaces/default/pods"
    assert (await world.root("POST", pods, document)).status == 201
    token = await world.token(boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "web"})
    extra = (await world.whoami(token)).json["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["web"]
    await world.root("DELETE", f"{pods}/web", {"gracePeriodSeconds": 0})
    assert not await world.believed(token)


async def test_a_token_for_others_is_not_for_this_server(world: World) -> None:
    token = await world.token(audiences=["vault"])
    assert not await world.believed(token)
    answer = await world.root("POST", REVIEW, {"spec": {"token": token, "audiences": ["vault", "x"]}})
    status = answer.json["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    answer = await world.root("POST", REVIEW, {"spec": {"token": token}})
    assert answer.json["status"] == {"authenticated": False, "error": "the token is for other audiences"}
    assert token not in answer.body.decode()


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"exp": "9999999999"},
        {"nbf": 9_999_999_999},
        {"iss": "https://elsewhere.example"},
        {"aud": ISSUER},
        {"kubernetes.io": None},
        {"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "bot", "uid": "another"}}},
        {"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": 7}}},
        {"kubernetes.io": {"namespace": "default"}},
    ],
)
async def test_claims_that_do_not_hold_prove_nothing(world: World, change: dict[str, Any]) -> None:
    claims = world.key.verify(await world.token())
    assert await world.believed(world.key.sign(claims))
    assert not await world.believed(world.key.sign(claims | change))


async def test_a_token_of_another_key_proves_nothing(world: World) -> None:
    claims = world.key.verify(await world.token())
    assert not await world.believed(SigningKey.fresh().sign(claims))


@pytest.mark.parametrize(
    "spec, code, words",
    [
        (
            {"expirationSeconds": 599},
            422,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less",
        ),
        ({"expirationSeconds": 2**32 + 1}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Service", "apiVersion": "v1", "name": "x"}}, 422, "spec.boundObjectRef.kind"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}, 404, 'pods "x" not found'),
    ],
)
async def test_a_request_for_what_cannot_be_is_refused(
    world: World, spec: dict[str, Any], code: int, words: str
) -> None:
    answer = await world.root("POST", f"{ACCOUNTS}/bot/token", {"spec": spec})
    assert answer.status == code
    assert words in answer.json["message"]


async def test_nobody_gets_a_token_of_an_account_that_is_not_there(world: World) -> None:
    answer = await world.root("POST", f"{ACCOUNTS}/ghost/token", {"spec": {}})
    assert (answer.status, answer.json["message"]) == (404, 'serviceaccounts "ghost" not found')
