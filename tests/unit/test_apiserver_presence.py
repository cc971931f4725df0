"""Unit tests of `fairway.apiserver.presence`: the endpoints of default/kubernetes are the API servers that live."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.app import App
from fairway.apiserver.presence import INTERVAL_SECONDS, SILENCE_SECONDS, Presence, Server
from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.objects.resources import ENDPOINT_SLICES, ENDPOINTS, LEASES
from fairway.runtime.clock import FakeClock
from tests.unit.api_calls import Calls

LOOPBACK = Server("127.0.0.1", 6443)
ONE, TWO = Server("192.0.2.1", 6443), Server("192.0.2.2", 6443)


class Cluster:
    """One storage, and API servers over it that come and go, by one clock."""

    def __init__(self, app: App, clock: FakeClock) -> None:
        self.app = app
        self.calls = Calls(app)
        self.clock = clock

    def server(self, server: Server) -> Presence:
        return Presence(self.app.registry, self.clock, server)

    async def addresses(self) -> list[str]:
        """The endpoints, which both objects have to agree about."""
        endpoints = (await self.calls("GET", ENDPOINTS.path("default", "kubernetes"))).json
        assert endpoints["metadata"]["labels"] == {"endpointslice.kubernetes.io/skip-mirror": "true"}
        subsets = endpoints.get("subsets", [])
        found = [f"{a['ip']}:{p['port']}" for one in subsets for a in one["addresses"] for p in one["ports"]]
        sliced = [
            f"{address}:{port['port']}"
            for one in (await self.slices())
            for endpoint in one["endpoints"]
            for address in endpoint["addresses"]
            for port in one["ports"]
        ]
        assert sorted(sliced) == sorted(found)
        return found

    async def slices(self) -> list[Any]:
        query = "?labelSelector=kubernetes.io/service-name=kubernetes"
        return list((await self.calls("GET", ENDPOINT_SLICES.path("default") + query)).json["items"])

    async def leases(self) -> int:
        return len((await self.calls("GET", LEASES.path("kube-system"))).json["items"])


@pytest.fixture
async def cluster() -> Cluster:
    clock = FakeClock()
    app = await create_app(MemoryStorage(), Settings(data_directory=Path("/nowhere")), clock=clock)
    return Cluster(app, clock)


@pytest.mark.reference("5.5 default service")
async def test_a_server_on_loopback_is_no_endpoint_and_the_objects_are_there(cluster: Cluster) -> None:
    assert await cluster.addresses() == []
    assert [one["metadata"]["name"] for one in await cluster.slices()] == ["kubernetes"]
    assert await cluster.leases() == 0


@pytest.mark.reference("5.5 default service")
async def test_every_living_server_is_an_endpoint_and_one_that_leaves_is_none(cluster: Cluster) -> None:
    one, two = cluster.server(ONE), cluster.server(TWO)
    await two.begin()
    await one.begin()
    assert await cluster.addresses() == ["192.0.2.1:6443", "192.0.2.2:6443"]
    assert await cluster.leases() == 2
    await one.leave()
    assert await cluster.addresses() == ["192.0.2.2:6443"]
    await two.leave()
    assert await cluster.addresses() == []
    assert await cluster.leases() == 0


@pytest.mark.reference("5.5 default service")
async def test_a_server_that_falls_silent_is_taken_out_by_the_others(cluster: Cluster) -> None:
    one, two = cluster.server(ONE), cluster.server(TWO)
    await one.begin()
    await two.begin()
    running = asyncio.create_task(two.run())
    try:
        async with asyncio.timeout(30):
            for _ in range(2):
                assert await cluster.clock.sleeper() == INTERVAL_SECONDS
                cluster.clock.advance(INTERVAL_SECONDS)
            await cluster.clock.sleeper()
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert 2 * INTERVAL_SECONDS >= SILENCE_SECONDS
    assert await cluster.addresses() == ["192.0.2.2:6443"]
    assert await cluster.leases() == 1
    await one.begin()
    assert await cluster.addresses() == ["192.0.2.1:6443", "192.0.2.2:6443"]


async def test_a_server_that_speaks_in_time_stays(cluster: Cluster) -> None:
    one, two = cluster.server(ONE), cluster.server(TWO)
    for _ in range(4):
        await one.begin()
        await two.begin()
        cluster.clock.advance(SILENCE_SECONDS - 1)
    assert len(await cluster.addresses()) == 2


async def test_another_port_and_another_family_have_slices_of_their_own(cluster: Cluster) -> None:
    servers = [ONE, Server("192.0.2.2", 7443), Server("2001:db8::1", 6443)]
    presences = [cluster.server(one) for one in servers]
    for one in presences:
        await one.begin()
    assert await cluster.addresses() == ["192.0.2.1:6443", "2001:db8::1:6443", "192.0.2.2:7443"]
    names = {one["metadata"]["name"]: one["addressType"] for one in await cluster.slices()}
    assert names == {"kubernetes": "IPv4", "kubernetes-ipv6-6443": "IPv6", "kubernetes-ipv4-7443": "IPv4"}
    await presences[0].leave()
    names = {one["metadata"]["name"]: one["addressType"] for one in await cluster.slices()}
    assert names == {"kubernetes": "IPv6", "kubernetes-ipv4-7443": "IPv4"}


async def test_a_second_look_writes_the_lease_and_nothing_else(cluster: Cluster) -> None:
    one = cluster.server(ONE)
    await one.begin()
    before = cluster.app.registry.storage.revision
    cluster.clock.advance(1)
    await one.begin()
    assert cluster.app.registry.storage.revision == before + 1
    silent = cluster.server(LOOPBACK)
    await silent.begin()
    assert cluster.app.registry.storage.revision == before + 1


async def test_what_somebody_changed_is_put_right_and_other_leases_are_left_alone(cluster: Cluster) -> None:
    one = cluster.server(ONE)
    await one.begin()
    merge = "application/merge-patch+json"
    path = ENDPOINTS.path("default", "kubernetes")
    await cluster.calls("PATCH", path, {"subsets": None}, content_type=merge)
    await cluster.calls("DELETE", ENDPOINT_SLICES.path("default", "kubernetes"))
    await cluster.calls("POST", LEASES.path("kube-system"), {"metadata": {"name": "mine"}, "spec": {}})
    cluster.clock.advance(INTERVAL_SECONDS)
    await one.begin()
    assert await cluster.addresses() == ["192.0.2.1:6443"]
    assert await cluster.leases() == 2
