"""Unit tests of `fairway.proxy.requests`, with the client that tells it what happens."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.client.observed import Exchange, ObservedTransport
from fairway.client.transport import ServerUnreachable
from fairway.objects.resources import SERVICES
from fairway.objects.status import ApiError
from fairway.proxy.requests import Requests
from fairway.runtime.clock import FakeClock
from tests.unit.scripted_server import ScriptedServer, failure, service_list

HOST = "this process"


class Desk:
    def __init__(self) -> None:
        self.server, self.clock, self.registry = ScriptedServer(), FakeClock(), CollectorRegistry()
        transport = ObservedTransport(AsgiTransport(self.server), Requests(self.registry), self.clock)
        self.client = Client(transport)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"rest_client_{name}", {"host": HOST, **labels})


async def test_an_answer_counts_with_its_time_and_sizes() -> None:
    desk = Desk()
    asked = asyncio.create_task(desk.client.list(SERVICES))
    exchange = await desk.server.next("GET /api/v1/services")
    desk.clock.advance(0.3)
    await exchange.answer(service_list(9))
    await asked
    assert desk.value("requests_total", code="200", method="GET") == 1
    assert desk.value("request_duration_seconds_sum", verb="GET") == pytest.approx(0.3)
    assert desk.value("request_size_bytes_sum", verb="GET") == 0
    received = desk.value("response_size_bytes_sum", verb="GET")
    assert received is not None
    assert received > 20


async def test_a_refusal_counts_by_its_code_and_a_watch_without_a_time() -> None:
    desk = Desk()
    asked = asyncio.create_task(anext(desk.client.watch(SERVICES, "5")))
    await (await desk.server.next("GET /api/v1/services")).answer(failure(410, "Expired"), 410)
    with pytest.raises(ApiError):
        await asked
    assert desk.value("requests_total", code="410", method="GET") == 1
    assert desk.value("request_duration_seconds_count", verb="GET") is None


@pytest.mark.parametrize("watching", [False, True])
async def test_no_answer_counts_as_an_error(watching: bool) -> None:
    desk = Desk()
    work = anext(desk.client.watch(SERVICES, "5")) if watching else desk.client.list(SERVICES)
    asked = asyncio.ensure_future(work)
    (await desk.server.next("GET /api/v1/services")).break_off()
    with pytest.raises(ServerUnreachable):
        await asked
    assert desk.value("requests_total", code="<error>", method="GET") == 1


def test_a_server_is_called_by_its_host_and_port() -> None:
    registry = CollectorRegistry()
    Requests(registry)(Exchange("GET", "https://[fd00::1]:6443", 200))
    labels = {"code": "200", "method": "GET", "host": "[fd00::1]:6443"}
    assert registry.get_sample_value("rest_client_requests_total", labels) == 1
