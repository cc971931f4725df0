"""ServiceCIDRs and IPAddresses while the server runs: what comes, what goes, what has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.networks import NetworkKeeper
from fairway.apiserver.server import create_app, ranges_of
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.contract import Storage
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.objects.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from fairway.runtime.clock import FakeClock
from tests.unit.api_calls import MERGE, Answer, Calls, service

CIDRS, ADDRESSES, HERE = SERVICE_CIDRS.path(), IP_ADDRESSES.path(), SERVICES.path("default")


class Server(Calls):
    """An API server with its keeper; ``clock`` moves by hand."""

    clock: FakeClock

    async def create(self, name: str, **spec: Any) -> Answer:
        return await self("POST", HERE, service(name, **spec))

    async def address(self, name: str, **spec: Any) -> str:
        made = await self.create(name, **spec)
        assert made.status == 201, made.json
        return str(made.json["spec"]["clusterIP"])

    async def network(self, name: str, *cidrs: str) -> Answer:
        return await self("POST", CIDRS, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})

    async def until_gone(self, url: str) -> None:
        path, _, name = url.rpartition("/")
        async with self.watch(f"{path}?fieldSelector=metadata.name%3D{name}") as watch:
            if (await self("GET", url)).status == 404:
                return
            while (await watch.next())["type"] != "DELETED":
                pass


@asynccontextmanager
async def running(storage: Storage | None = None, **settings: Any) -> AsyncIterator[Server]:
    chosen = Settings(data_directory=Path("/nowhere"), **settings)
    clock = FakeClock()
    app = await create_app(storage or MemoryStorage(), chosen, clock=clock)
    keeper = asyncio.create_task(NetworkKeeper(app.registry, ranges_of(chosen), clock).run())
    server = Server(app)
    server.clock = clock
    try:
        yield server
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@pytest.mark.reference("5.5 address object", "5.5 default network")
async def test_the_default_network_and_every_address_can_be_seen() -> None:
    async with running(service_ranges="10.96.0.0/16,fd00::/112") as server:
        (default,) = (await server("GET", CIDRS)).json["items"]
        assert default["metadata"]["name"] == "kubernetes"
        assert default["spec"]["cidrs"] == ["10.96.0.0/16", "fd00::/112"]
        made = (await server.create("cart", ipFamilyPolicy="RequireDualStack")).json["spec"]["clusterIPs"]
        for text, family in zip(made, ("IPv4", "IPv6"), strict=True):
            found = (await server("GET", f"{ADDRESSES}/{text}")).json
            assert found["metadata"]["labels"] == {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }
            assert found["spec"]["parentRef"] == {
                "group": "",
                "resource": "services",
                "namespace": "default",
                "name": "cart",
            }
        await server("DELETE", f"{HERE}/cart")
        left = [one["metadata"]["name"] for one in (await server("GET", ADDRESSES)).json["items"]]
        assert left == ["10.96.0.1"]


async def test_the_addresses_of_a_service_are_told_to_watchers_in_its_own_revision() -> None:
    async with running(service_ranges="10.96.0.0/16,fd00::/112") as server, server.watch(ADDRESSES) as watch:
        await watch.next()
        made = (await server.create("cart", ipFamilyPolicy="RequireDualStack")).json
        told = [await watch.next(), await watch.next()]
        assert sorted(one["object"]["metadata"]["name"] for one in told) == sorted(made["spec"]["clusterIPs"])
        assert {one["object"]["metadata"]["resourceVersion"] for one in told} == {made["metadata"]["resourceVersion"]}


@pytest.mark.reference("5.5 repair")
async def test_an_address_that_a_service_holds_cannot_be_deleted_by_itself() -> None:
    async with running() as server:
        address = await server.address("cart")
        refused = await server("DELETE", f"{ADDRESSES}/{address}")
        assert refused.status == 403
        assert refused.json["message"].endswith("the Service default/cart holds it; it goes with the Service")


async def test_an_address_that_somebody_reserves_is_given_to_nobody() -> None:
    async with running() as server:
        parent = {"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g"}
        reserved = {"metadata": {"name": "10.96.0.50"}, "spec": {"parentRef": parent}}
        assert (await server("POST", ADDRESSES, reserved)).status == 201
        refused = await server.create("cart", clusterIP="10.96.0.50")
        assert refused.status == 422
        assert "provided IP is already allocated" in refused.json["message"]
        assert (await server("DELETE", f"{ADDRESSES}/10.96.0.50")).status == 200
        assert await server.address("cart", clusterIP="10.96.0.50") == "10.96.0.50"


@pytest.mark.reference("5.5 networks", "5.5 exhausted")
async def test_a_network_gives_addresses_as_soon_as_it_is_there() -> None:
    async with running(service_ranges="10.96.0.0/29") as server:
        for number in range(5):
            await server.address(f"s{number}")
        full = await server.create("late")
        assert full.status == 500
        assert "range is full (10.96.0.0/29)" in full.json["message"]
        outside = await server.create("late", clusterIP="10.97.0.9")
        assert "The range of valid IPs is 10.96.0.0/29" in outside.json["message"]
        await server.network("extra", "10.97.0.0/28")
        assert await server.address("exact", clusterIP="10.97.0.9") == "10.97.0.9"
        assert (await server.address("late")).startswith("10.97.0.")


async def test_a_second_family_can_be_added_and_services_can_have_both() -> None:
    async with running() as server:
        refused = await server.create("both", ipFamilyPolicy="RequireDualStack")
        assert "this cluster is not configured for dual-stack services" in refused.json["message"]
        await server.network("six", "fd00:10::/112")
        made = await server.create("both", ipFamilyPolicy="RequireDualStack")
        assert made.json["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        prefers = await server.create("prefers", ipFamilyPolicy="PreferDualStack")
        assert len(prefers.json["spec"]["clusterIPs"]) == 2


@pytest.mark.reference("5.5 cidr deletion")
async def test_a_network_with_addresses_in_use_waits_says_why_and_gives_no_more() -> None:
    async with running(service_ranges="10.96.0.0/29") as server:
        await server.network("extra", "10.97.0.0/28")
        await server.address("cart", clusterIP="10.97.0.9")
        async with server.watch(f"{CIDRS}?fieldSelector=metadata.name%3Dextra") as watch:
            await watch.next()
            await server("DELETE", f"{CIDRS}/extra")
            while not _terminating(await watch.next()):
                pass
            refused = await server.create("more", clusterIP="10.97.0.10")
            assert refused.status == 422
            await server("DELETE", f"{HERE}/cart")
            while (await watch.next())["type"] != "DELETED":
                pass
        assert (await server.network("extra", "10.97.0.0/28")).status == 201
        assert await server.address("cart", clusterIP="10.97.0.9") == "10.97.0.9"


def _terminating(line: Any) -> bool:
    (condition,) = line["object"]["status"]["conditions"]
    words = "There are still IPAddresses referencing the ServiceCIDR"
    return condition["reason"] == "Terminating" and str(condition["message"]).startswith(words)


@pytest.mark.reference("5.5 cidr covered")
async def test_a_network_goes_at_once_when_another_one_contains_it() -> None:
    async with running() as server:
        await server.network("small", "10.97.0.0/28")
        await server.address("cart", clusterIP="10.97.0.9")
        await server.network("large", "10.97.0.0/16")
        await server("DELETE", f"{CIDRS}/small")
        await server.until_gone(f"{CIDRS}/small")
        assert (await server("GET", f"{HERE}/cart")).json["spec"]["clusterIP"] == "10.97.0.9"


@pytest.mark.reference("5.5 default network")
async def test_the_default_network_comes_back() -> None:
    async with running() as server:
        await server.network("large", "10.96.0.0/12")
        before = (await server("GET", f"{CIDRS}/kubernetes")).json["metadata"]["uid"]
        async with server.watch(f"{CIDRS}?fieldSelector=metadata.name%3Dkubernetes") as watch:
            await watch.next()
            await server("DELETE", f"{CIDRS}/kubernetes")
            while (line := await watch.next())["type"] != "ADDED":
                pass
        assert line["object"]["metadata"]["uid"] != before
        assert line["object"]["spec"]["cidrs"] == ["10.96.0.0/16"]


@pytest.mark.reference("5.5 cidr deletion")
async def test_a_server_that_has_not_heard_of_a_deletion_still_cannot_give_an_address_of_it() -> None:
    """Two servers on one storage, the second without a keeper: what it believes is old, what it writes is right."""
    storage = MemoryStorage()
    async with running(storage) as server:
        await server.network("extra", "10.97.0.0/28")
        other = Server(await create_app(storage, Settings(data_directory=Path("/nowhere"))))
        await server("DELETE", f"{CIDRS}/extra")
        await server.until_gone(f"{CIDRS}/extra")
        refused = await other.create("cart", clusterIP="10.97.0.9")
        assert refused.status == 422
        assert "is not in the valid range" in refused.json["message"]


async def test_a_keeper_tells_its_server_what_other_servers_have_taken_and_given_back() -> None:
    storage = MemoryStorage()
    async with running(storage, service_ranges="10.96.0.0/29") as server:
        other = Server(
            await create_app(storage, Settings(data_directory=Path("/nowhere"), service_ranges="10.96.0.0/29"))
        )
        for number in range(5):
            await server.address(f"s{number}")
        assert (await other.create("late")).status == 500
        async with server.watch(ADDRESSES) as watch:
            await other("DELETE", f"{HERE}/s0")
            while (await watch.next())["type"] != "DELETED":
                pass
        assert (await server.address("late")).startswith("10.96.0.")


async def test_addresses_can_be_given_one_after_the_other() -> None:
    async with running(cluster_ip_allocation="sequential") as server:
        assert [await server.address(name) for name in "abc"] == ["10.96.1.1", "10.96.1.2", "10.96.1.3"]
        await server("DELETE", f"{HERE}/b")
        assert await server.address("d") == "10.96.1.2"


async def test_an_address_rests_before_another_service_can_have_it() -> None:
    async with running(cluster_ip_reuse_after=60.0, cluster_ip_allocation="sequential") as server:
        address = await server.address("cart")
        await server("DELETE", f"{HERE}/cart")
        resting = (await server("GET", f"{ADDRESSES}/{address}")).json
        assert "fairway.dev/released" in resting["metadata"]["annotations"]
        assert await server.address("other") != address
        refused = await server.create("thief", clusterIP=address)
        assert refused.status == 422
        assert "provided IP rests until 20" in refused.json["message"]
        assert 59 < await asyncio.wait_for(server.clock.sleeper(), 30) <= 61
        server.clock.advance(61)
        await server.until_gone(f"{ADDRESSES}/{address}")
        assert await server.address("thief", clusterIP=address) == address


async def test_the_service_that_had_a_resting_address_can_have_it_back() -> None:
    storage = MemoryStorage()
    async with running(storage, cluster_ip_reuse_after=60.0) as server:
        address = await server.address("cart")
        uid = (await server("GET", f"{ADDRESSES}/{address}")).json["metadata"]["uid"]
        await server("DELETE", f"{HERE}/cart")
    async with running(storage, cluster_ip_reuse_after=60.0) as server:
        assert (await server.create("thief", clusterIP=address)).status == 422
        assert await server.address("cart", clusterIP=address) == address
        found = (await server("GET", f"{ADDRESSES}/{address}")).json["metadata"]
        assert found["uid"] == uid
        assert "annotations" not in found


async def test_a_resting_address_does_not_hold_up_its_network() -> None:
    async with running(cluster_ip_reuse_after=60.0) as server:
        await server.network("extra", "10.97.0.0/28")
        await server.address("cart", clusterIP="10.97.0.9")
        await server("DELETE", f"{HERE}/cart")
        await server("DELETE", f"{CIDRS}/extra")
        await server.until_gone(f"{CIDRS}/extra")


@pytest.mark.parametrize(
    "before, after, cidrs, api",
    [
        ("10.96.0.0/16", "10.96.0.0/16,fd00::/112", ["10.96.0.0/16", "fd00::/112"], "10.96.0.1"),
        ("10.96.0.0/16", "10.50.0.0/16", ["10.50.0.0/16"], "10.50.0.1"),
    ],
    ids=["a second family", "another network, nobody in the old one"],
)
@pytest.mark.reference("5.5 default network", "5.5 default service")
async def test_the_default_network_follows_the_configuration(
    before: str, after: str, cidrs: list[str], api: str
) -> None:
    storage = MemoryStorage()
    async with running(storage, service_ranges=before):
        pass
    async with running(storage, service_ranges=after) as server:
        assert (await server("GET", f"{CIDRS}/kubernetes")).json["spec"]["cidrs"] == cidrs
        assert (await server("GET", f"{HERE}/kubernetes")).json["spec"]["clusterIP"] == api


async def test_the_default_network_stays_while_services_have_addresses_of_it(caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    async with running(storage) as server:
        address = await server.address("cart")
    async with running(storage, service_ranges="10.50.0.0/16") as server:
        assert (await server("GET", f"{CIDRS}/kubernetes")).json["spec"]["cidrs"] == ["10.96.0.0/16"]
        assert (await server("GET", f"{HERE}/cart")).json["spec"]["clusterIP"] == address
        assert (await server.address("more")).startswith("10.96.")
    assert "--service-cluster-ip-range is 10.50.0.0/16, but the ServiceCIDR kubernetes has 10.96.0.0/16" in caplog.text


@pytest.mark.reference("5.5 networks")
async def test_without_a_ready_network_nothing_is_given_and_it_is_said() -> None:
    async with running() as server:
        await server("PATCH", f"{CIDRS}/kubernetes/status", {"status": {"conditions": [UNREADY]}}, content_type=MERGE)
        refused = await server.create("cart")
        assert refused.status == 422
        assert "no ServiceCIDR of family IPv4 is ready" in refused.json["message"]


UNREADY = {"type": "Ready", "status": "False", "reason": "Drained", "lastTransitionTime": "2026-01-01T00:00:00Z"}
