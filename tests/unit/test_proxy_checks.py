"""Unit tests of `fairway.proxy.checks`: what is counted, and real listeners on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairway.model.view import NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.checks import RETRY_SECONDS, CheckPorts, HealthCheck, health_check
from fairway.runtime.clock import FakeClock
from tests.free_ports import free_ports

WEB = Key("shop", "web")
HERE = NodeSettings(name="node-1", node_port_addresses=("127.0.0.1",))


def service(policy: str = "Local", kind: str = "LoadBalancer", port: int = 31234) -> Service:
    return Service(
        metadata=ObjectMeta(namespace="shop", name="web"),
        spec=ServiceSpec(
            type=kind,
            cluster_ip="10.96.0.7",
            external_traffic_policy=policy,
            health_check_node_port=port,
            ports=(ServicePort(port=80),),
        ),
    )


def endpoint(address: str, node: str = "node-1", ready: bool = True) -> Endpoint:
    return Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(ready=ready, serving=True))


def slice_(*endpoints: Endpoint) -> EndpointSlice:
    return EndpointSlice(endpoints=endpoints, ports=(EndpointPort(name="", port=8080),))


@pytest.mark.reference("7.5 should fail health check node port if there are only terminating endpoints")
@pytest.mark.reference("7.4 TestGetLocalEndpointIPs")
@pytest.mark.reference("7.2 TestHealthCheckNodePortWhenTerminating")
def test_addresses_that_are_ready_here_are_counted_once() -> None:
    slices = [
        slice_(endpoint("10.244.1.2"), endpoint("10.244.1.3", ready=False), endpoint("10.244.2.2", "node-2")),
        slice_(endpoint("10.244.1.2"), endpoint("10.244.1.4")),
    ]
    assert health_check(service(), slices, "node-1") == HealthCheck(31234, (("IPv4", 2),))


@pytest.mark.reference("7.5 NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy changes")
@pytest.mark.parametrize("one", [service("Cluster"), service(kind="NodePort"), service(port=0)])
def test_only_a_load_balancer_with_the_local_policy_has_a_port(one: Service) -> None:
    assert health_check(one, [slice_(endpoint("10.244.1.2"))], "node-1") is None


@asynccontextmanager
async def running(ports: CheckPorts) -> AsyncIterator[None]:
    task = asyncio.create_task(ports.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int) -> tuple[str, dict[str, str], str]:
    """Status line, headers, body; asked again until somebody listens there."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            continue
    writer.write(b"GET /any/thing HTTP/1.1\r\n\r\n")
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status, *headers = head.split("\r\n")
    return status, dict(line.split(": ", 1) for line in headers), body


@pytest.mark.reference("7.4 healthcheck TestServer")
async def test_the_answer_is_the_references_word_for_word() -> None:
    ports, (port,) = CheckPorts(lambda: True, FakeClock()), free_ports(1)
    ports.settle(HERE)
    ports.put(WEB, HealthCheck(port, (("IPv4", 2),)))
    async with running(ports):
        status, headers, body = await ask(port)
    assert status == "HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Load-Balancing-Endpoint-Weight"] == "2"
    assert body == (
        '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n'
        '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )


@pytest.mark.reference("7.5 should fail health check node port if there are only terminating endpoints")
@pytest.mark.reference("7.4 healthcheck TestServer")
@pytest.mark.parametrize("count, healthy, code", [(1, True, 200), (0, True, 503), (1, False, 503)])
def test_it_is_good_with_an_endpoint_and_a_healthy_proxy(count: int, healthy: bool, code: int) -> None:
    ports = CheckPorts(lambda: healthy, FakeClock())
    ports.put(WEB, HealthCheck(31234, (("IPv4", count),)))
    answer = ports.answer(WEB, "IPv4")
    assert answer.code == code
    assert json.loads(answer.body)["serviceProxyHealthy"] is healthy


@pytest.mark.reference("7.4 healthcheck TestServer")
async def test_a_port_that_is_taken_is_named_and_asked_for_again() -> None:
    clock = FakeClock()
    ports = CheckPorts(lambda: True, clock)
    (port,) = free_ports(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        ports.settle(HERE)
        ports.put(WEB, HealthCheck(port, (("IPv4", 1),)))
        waiting = running(ports)
        await waiting.__aenter__()
        await clock.sleeper()
        assert ports.problems == [
            f"shop/web: cannot listen at its health-check port 127.0.0.1:{port}: Address already in use"
        ]
    clock.advance(RETRY_SECONDS)
    assert (await ask(port))[0] == "HTTP/1.1 200 OK"
    assert ports.problems == []
    await waiting.__aexit__(None, None, None)


@pytest.mark.reference("7.4 healthcheck TestServer")
async def test_a_service_that_is_gone_stops_listening() -> None:
    ports, (first, second) = CheckPorts(lambda: True, FakeClock()), free_ports(2)
    ports.settle(HERE)
    ports.put(WEB, HealthCheck(first, (("IPv4", 1),)))
    async with running(ports):
        await ask(first)
        ports.put(WEB, HealthCheck(second, (("IPv4", 1),)))
        await ask(second)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", first)


@pytest.mark.reference("7.4 TestServerWithSelectiveListeningAddress")
async def test_only_addresses_that_take_node_ports_answer_health_checks() -> None:
    ports, (port,) = CheckPorts(lambda: True, FakeClock()), free_ports(1)
    ports.settle(HERE)
    ports.put(WEB, HealthCheck(port, (("IPv4", 1),)))
    async with running(ports):
        assert (await ask(port))[0] == "HTTP/1.1 200 OK"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", port)
