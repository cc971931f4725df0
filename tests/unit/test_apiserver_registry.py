"""Unit tests of `fairway.apiserver.registry`: verbs rehearsed, names that collide, what a deletion asks for."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairway.apiserver.registry import Registry
from fairway.runtime.clock import SystemClock
from tests.unit.api_calls import APPLY, JSON, MERGE, Calls, service, start

SERVICES = "/api/v1/namespaces/default/services"
WEB = f"{SERVICES}/web"


@pytest.fixture
async def api() -> Calls:
    return await start()


@pytest.mark.parametrize(
    "method, path, body, content_type",
    [
        ("POST", SERVICES, service("new", type="NodePort"), ""),
        ("PUT", WEB, service("web", type="NodePort"), ""),
        ("PUT", f"{SERVICES}/new", service("new"), ""),
        ("PATCH", WEB, {"spec": {"type": "NodePort"}}, MERGE),
        ("PATCH", f"{WEB}/status", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        ("PATCH", f"{SERVICES}/new?fieldManager=m", service("new"), APPLY),
        ("DELETE", WEB, None, ""),
        ("DELETE", SERVICES, None, ""),
    ],
)
async def test_a_rehearsal_answers_as_the_deed_and_writes_nothing(
    api: Calls, method: str, path: str, body: Any, content_type: str
) -> None:
    await api("POST", SERVICES, service("web"))
    storage = api.app.registry.storage
    before = storage.revision
    url = path + ("&" if "?" in path else "?") + "dryRun=All"
    answer = await api(method, url, body, content_type=content_type or JSON)
    assert answer.status in (200, 201), answer.body
    assert storage.revision == before
    if path.startswith(f"{SERVICES}/new") or method == "POST":
        assert answer.json["spec"]["clusterIP"].startswith("10.")
    if "NodePort" in str(body):
        assert answer.json["spec"]["ports"][0]["nodePort"] >= 30000


async def test_another_rehearsal_than_all_is_refused(api: Calls) -> None:
    answer = await api("POST", f"{SERVICES}?dryRun=Some", service("web"))
    assert answer.status == 422
    assert answer.json["message"] == (
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )


class _Stubborn(random.Random):
    """Draws the same letters again and again, until it has been asked often enough."""

    drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return 0.0 if self.drawn <= 15 else 0.5


async def test_a_generated_name_that_is_taken_is_drawn_again(api: Calls) -> None:
    served = api.app.registry
    registry = Registry(served.storage, served.kinds, SystemClock(), _Stubborn())
    await registry.open()
    kind = next(kind for kind in served.kinds.rows if kind.name == "ConfigMap")
    names = []
    for _ in range(2):
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}}
        names.append((await registry.create(kind, "default", document)).document()["metadata"]["name"])
    assert names[0] == "c-bbbbb"
    assert names[1] != names[0]


@pytest.mark.parametrize(
    "query, body, finalizer",
    [
        ("?propagationPolicy=Foreground", None, "foregroundDeletion"),
        ("?propagationPolicy=Orphan", None, "orphan"),
        ("", {"propagationPolicy": "Orphan"}, "orphan"),
        ("", {"orphanDependents": True}, "orphan"),
    ],
)
async def test_the_propagation_policy_becomes_a_finalizer(api: Calls, query: str, body: Any, finalizer: str) -> None:
    await api("POST", SERVICES, service("web"))
    answer = await api("DELETE", WEB + query, body)
    assert answer.json["metadata"]["finalizers"] == [finalizer]
    assert answer.json["metadata"]["deletionTimestamp"]
    assert (await api("GET", WEB)).status == 200


async def test_a_deletion_of_another_version_is_refused(api: Calls) -> None:
    created = await api("POST", SERVICES, service("web"))
    version = created.json["metadata"]["resourceVersion"]
    await api("PATCH", WEB, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    answer = await api("DELETE", WEB, {"preconditions": {"resourceVersion": version}})
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert answer.json["details"] == {"name": "web", "kind": "Service"}
    assert f"the ResourceVersion in the precondition ({version}) does not match" in answer.json["message"]


async def test_the_status_can_be_read_by_its_path(api: Calls) -> None:
    created = await api("POST", SERVICES, service("web"))
    assert (await api("GET", f"{WEB}/status")).json == created.json
