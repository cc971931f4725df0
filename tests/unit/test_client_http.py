"""Unit tests of `fairway.client.http`."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import msgspec
import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client, Event
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.resources import DEPLOYMENTS, NODES, SERVICES
from fairway.objects.service import Service, ServiceSpec
from fairway.objects.status import ApiError
from tests.unit.scripted_server import ScriptedServer, failure, service, service_list


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def client(server: ScriptedServer) -> Client:
    return Client(AsgiTransport(server))


async def test_get_gives_a_value_of_the_resources_class(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.create_task(client.get(SERVICES, "cart", "shop"))
    exchange = await server.next("GET /api/v1/namespaces/shop/services/cart")
    await exchange.answer(service("cart", 7, clusterIP="10.96.0.7"))
    assert (await asked).spec.cluster_ip == "10.96.0.7"


async def test_a_name_cannot_leave_its_place_in_the_path(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.create_task(client.get(NODES, "../secrets?x"))
    exchange = await server.next("GET /api/v1/nodes/..%2Fsecrets%3Fx")
    await exchange.answer(failure(404, "NotFound"), 404)
    with pytest.raises(ApiError, match="it is NotFound"):
        await asked


async def test_list_passes_selectors_and_gives_the_revision(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.create_task(client.list(SERVICES, label_selector="app=web", field_selector="metadata.name=a"))
    exchange = await server.next("GET /api/v1/services")
    assert exchange.query == {"labelSelector": "app=web", "fieldSelector": "metadata.name=a"}
    await exchange.answer(service_list(9, service("a", 3)))
    listed = await asked
    assert listed.metadata.resource_version == "9"
    assert [item.key for item in listed.items] == [Key("shop", "a")]


async def test_one_unreadable_object_does_not_hide_the_others(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.create_task(client.list(SERVICES))
    exchange = await server.next("GET /api/v1/services")
    await exchange.answer(service_list(9, service("a", 3), service("b", 4, ports="none"), service("c", 5)))
    assert [item.metadata.name for item in (await asked).items] == ["a", "c"]
    assert "Service shop/b cannot be read and is ignored: spec.ports" in caplog.text


@pytest.mark.parametrize(
    "bad, key, field",
    [
        (service("b", 4, ports=[{"port": "http"}]), Key("shop", "b"), "spec.ports[0].port"),
        ({"metadata": {"name": "b", "namespace": "shop", "labels": 7}}, Key("shop", "b"), "metadata.labels"),
        ({"metadata": {"name": 3, "namespace": "shop"}}, Key("shop", ""), "metadata.name"),
        ({"metadata": "b"}, Key("", ""), "metadata"),
        ("nothing", Key("", ""), ""),
        (None, Key("", ""), ""),
    ],
)
async def test_whatever_is_wrong_with_one_object_the_others_are_there_and_it_is_named(
    server: ScriptedServer, client: Client, bad: Any, key: Key, field: str
) -> None:
    asked = asyncio.create_task(client.list(SERVICES))
    exchange = await server.next("GET /api/v1/services")
    await exchange.answer(service_list(9, service("a", 3), bad, service("c", 5)))
    listed = await asked
    assert [item.metadata.name for item in listed.items] == ["a", "c"]
    (left_out,) = listed.unreadable
    assert (left_out.metadata.key, left_out.field) == (key, field)
    assert left_out.message.startswith("expected ")


def _without_selector(one: Service, before: Service | None) -> Service:
    return msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, selector=None))


async def test_a_reader_may_shrink_every_object_of_a_list(server: ScriptedServer, client: Client) -> None:
    shrunk = SERVICES.shrunk(_without_selector)
    asked = asyncio.create_task(client.list(shrunk))
    exchange = await server.next("GET /api/v1/services")
    wide = service("cart", 7, clusterIP="10.96.0.7", selector={"app": "cart"})
    await exchange.answer(service_list(9, wide, {**wide, "spec": "nonsense"}))
    (listed,) = (await asked).items
    assert (listed.spec.selector, listed.spec.cluster_ip) == (None, "10.96.0.7")


async def test_a_value_is_written_with_its_kind(server: ScriptedServer, client: Client) -> None:
    value = Service(metadata=ObjectMeta(namespace="shop", name="cart"), spec=ServiceSpec(selector={"app": "cart"}))
    asked = asyncio.create_task(client.create(SERVICES, value))
    exchange = await server.next("POST /api/v1/namespaces/shop/services")
    assert json.loads(exchange.body) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"selector": {"app": "cart"}},
    }
    assert exchange.headers["content-type"] == "application/json"
    await exchange.answer(service("cart", 8), 201)
    assert (await asked).metadata.resource_version == "8"


async def test_a_document_is_written_as_it_is(server: ScriptedServer, client: Client) -> None:
    document: dict[str, Any] = {**service("cart", 8), "unheardOf": [1]}
    asked = asyncio.create_task(client.replace(SERVICES, document, subresource="status"))
    exchange = await server.next("PUT /api/v1/namespaces/shop/services/cart/status")
    assert json.loads(exchange.body) == document
    await exchange.answer(document)
    assert (await asked).metadata.name == "cart"


@pytest.mark.parametrize(
    "kind, media",
    [
        ("merge", "application/merge-patch+json"),
        ("strategic", "application/strategic-merge-patch+json"),
        ("json", "application/json-patch+json"),
    ],
)
async def test_a_patch_says_what_kind_it_is(server: ScriptedServer, client: Client, kind: Any, media: str) -> None:
    asked = asyncio.create_task(client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "shop", kind=kind))
    exchange = await server.next("PATCH /apis/apps/v1/namespaces/shop/deployments/web")
    assert exchange.headers["content-type"] == media
    assert exchange.body == b'{"spec":{"replicas":3}}'
    await exchange.answer({"spec": {"replicas": 3}})
    assert (await asked).spec.replicas == 3


async def test_delete_can_insist_on_one_very_object(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.create_task(client.delete(SERVICES, "cart", "shop", uid="u1", grace_seconds=0))
    exchange = await server.next("DELETE /api/v1/namespaces/shop/services/cart")
    options = json.loads(exchange.body)
    assert (options["preconditions"], options["gracePeriodSeconds"]) == ({"uid": "u1"}, 0)
    await exchange.answer(failure(409, "Conflict"), 409)
    with pytest.raises(ApiError) as caught:
        await asked
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")


async def test_an_error_that_is_no_status_still_says_something(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.create_task(client.get(SERVICES, "cart", "shop"))
    exchange = await server.next("GET /api/v1/namespaces/shop/services/cart")
    await exchange.begin(502)
    await exchange.end(b"<h1>Bad Gateway</h1>")
    with pytest.raises(ApiError, match="the server answered 502: <h1>Bad Gateway"):
        await asked


async def _watch(client: Client) -> list[Event[Service]]:
    return [event async for batch in client.watch(SERVICES, "5") for event in batch]


async def test_a_watch_gives_events_until_the_server_ends_it(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    asked = asyncio.create_task(_watch(client))
    exchange = await server.next("GET /api/v1/services")
    assert exchange.query["watch"] == "true"
    assert (exchange.query["resourceVersion"], exchange.query["allowWatchBookmarks"]) == ("5", "true")
    await exchange.begin()
    await exchange.event("ADDED", service("a", 6))
    await exchange.event("MODIFIED", service("a", 7, ports=3))
    await exchange.event("BOOKMARK", {"metadata": {"resourceVersion": "12"}})
    await exchange.end()
    events = await asked
    assert [(event.type, event.metadata.resource_version) for event in events] == [
        ("ADDED", "6"),
        ("DELETED", "7"),
        ("BOOKMARK", "12"),
    ]
    assert events[0].object is not None
    assert "Service shop/a cannot be read" in caplog.text


@pytest.mark.parametrize("early", [True, False], ids=["as the answer", "as an event"])
async def test_a_watch_from_too_old_a_revision_is_refused(server: ScriptedServer, client: Client, early: bool) -> None:
    asked = asyncio.create_task(_watch(client))
    exchange = await server.next("GET /api/v1/services")
    if early:
        await exchange.answer(failure(410, "Expired"), 410)
    else:
        await exchange.begin()
        await exchange.event("ERROR", failure(410, "Expired"))
        await exchange.end()
    with pytest.raises(ApiError) as caught:
        await asked
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
