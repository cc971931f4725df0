"""Unit tests of `fairway.proxy.followed`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.objects.codec import encode
from fairway.objects.meta import Key
from fairway.proxy.followed import Followed
from tests.unit.scripted_server import Exchange, ScriptedServer, failure, service, service_list

PATHS = {
    "services": "GET /api/v1/services",
    "slices": "GET /apis/discovery.k8s.io/v1/endpointslices",
    "nodes": "GET /api/v1/nodes",
}
Heard = asyncio.Queue[tuple[str, bool]]


def slice_of(name: str, **fields: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": "web"}
    meta = {"name": name, "namespace": "shop", "resourceVersion": "6", "labels": labels}
    return {"metadata": meta, "addressType": "IPv4", **fields}


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def heard() -> Heard:
    return asyncio.Queue()


@pytest.fixture
def noticed() -> list[str]:
    return []


@pytest.fixture
def followed(server: ScriptedServer, heard: Heard, noticed: list[str]) -> Followed:
    def changed(key: Key, old: object, new: object) -> None:
        heard.put_nowait((key.name, new is not None))

    client = Client(AsgiTransport(server))
    return Followed.of(
        client,
        "node-a",
        services=changed,
        slices=changed,
        nodes=changed,
        problem=lambda one: noticed.append(str(one.field)),
    )


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def begun(server: ScriptedServer, kind: str, *items: Any) -> Exchange:
    """The watch after a list of these, by a server that does not stream lists."""
    if kind != "nodes":
        await (await server.next(PATHS[kind])).answer(failure(422, "Invalid"), 422)
    await (await server.next(PATHS[kind])).answer(service_list(5, *items))
    watch = await server.next(PATHS[kind])
    await watch.begin()
    return watch


@pytest.mark.reference("7.5 should implement service.kubernetes.io/service-proxy-name")
@pytest.mark.parametrize(
    "kind, labels, fields",
    [
        ("services", "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"),
        ("slices", "!service.kubernetes.io/headless", None),
        ("nodes", None, "metadata.name=node-a"),
    ],
)
async def test_every_request_selects_what_is_for_this_proxy(
    server: ScriptedServer, followed: Followed, kind: str, labels: str | None, fields: str | None
) -> None:
    async with running(getattr(followed, kind)):
        for _ in range(2):
            asked = await server.next(PATHS[kind])
            assert (asked.query.get("labelSelector"), asked.query.get("fieldSelector")) == (labels, fields)
            refused = "sendInitialEvents" in asked.query
            await (asked.answer(failure(422, "Invalid"), 422) if refused else asked.answer(service_list(5)))


async def test_a_service_that_cannot_be_read_is_a_problem_until_it_can_and_the_others_are_followed(
    server: ScriptedServer, followed: Followed, heard: Heard, noticed: list[str]
) -> None:
    bad = service("bad", 4, ports=[{"port": "http"}])
    async with running(followed.services):
        watch = await begun(server, "services", service("a", 3), bad)
        assert await heard.get() == ("a", True)
        assert told(followed) == [
            "Service shop/bad: spec.ports[0].port: expected int, got str; the whole object is left out"
        ]
        await watch.event("MODIFIED", service("bad", 7, ports=[{"port": 80}]))
        assert await heard.get() == ("bad", True)
        assert told(followed) == []
        await watch.event("MODIFIED", {**bad, "metadata": {**bad["metadata"], "resourceVersion": "8"}})
        assert await heard.get() == ("bad", False)
        assert len(told(followed)) == 1
        await watch.event("DELETED", {**bad, "metadata": {**bad["metadata"], "resourceVersion": "9"}})
        await watch.event("ADDED", service("c", 10))
        assert await heard.get() == ("c", True)
        assert told(followed) == []
        assert noticed == ["spec.ports[0].port"] * 2


async def test_the_same_fault_is_noticed_once_and_a_service_that_cannot_be_read_has_a_name(
    server: ScriptedServer, followed: Followed, heard: Heard, noticed: list[str]
) -> None:
    bad = service("bad", 4, ports=[{"port": "http"}])
    async with running(followed.services):
        watch = await begun(server, "services", bad)
        for version in ("7", "8"):
            await watch.event("MODIFIED", {**bad, "metadata": {**bad["metadata"], "resourceVersion": version}})
        await watch.event("ADDED", service("c", 10))
        assert await heard.get() == ("c", True)
        assert noticed == ["spec.ports[0].port"]
        found = followed.service(Key("shop", "bad"))
        assert found is not None
        assert found.metadata.name == "bad"
        assert followed.service(Key("shop", "c")) is None


async def test_text_that_is_not_utf_8_costs_only_its_object(
    server: ScriptedServer, followed: Followed, heard: Heard
) -> None:
    async with running(followed.services):
        watch = await begun(server, "services")
        line = encode({"type": "ADDED", "object": service("odd", 6, type="OTHER")}) + b"\n"
        await watch.write(line.replace(b"OTHER", b"\xff\xfe"))
        await watch.event("ADDED", service("c", 10))
        assert await heard.get() == ("c", True)
        assert told(followed) == ["Service shop/odd: text that is not UTF-8: byte 0xff; the whole object is left out"]


async def test_one_in_a_streamed_list_is_told_too(server: ScriptedServer, followed: Followed, heard: Heard) -> None:
    async with running(followed.slices):
        watch = await server.next(PATHS["slices"])
        await watch.begin()
        await watch.event("ADDED", slice_of("web-1", endpoints=[{"addresses": "10.244.1.7"}]))
        await watch.event("ADDED", slice_of("web-2"))
        end = {"k8s.io/initial-events-end": "true"}
        await watch.event("BOOKMARK", {"metadata": {"resourceVersion": "7", "annotations": end}})
        assert await heard.get() == ("web-2", True)
        assert told(followed) == [
            "Service shop/web, EndpointSlice web-1: endpoints[0].addresses: expected array, got str; "
            "the whole object is left out"
        ]


async def test_a_node_that_cannot_be_read_is_a_note(server: ScriptedServer, followed: Followed) -> None:
    async with running(followed.nodes):
        await begun(server, "nodes", {"metadata": {"name": "node-a"}, "spec": {"taints": "many"}})
        assert list(followed.notes()) == [
            "Node node-a cannot be read and is ignored: spec.taints: expected array | null, got str"
        ]


def told(followed: Followed) -> list[str]:
    return [str(one) for one in followed.problems()]
