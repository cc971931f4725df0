"""Two API servers on one etcd, as processes: nothing twice, nothing leaked, and each shows what the other wrote."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path

import pytest

from fairway.client.http import Client
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.client.transport import ServerUnreachable
from fairway.objects.resources import ENDPOINT_SLICES, ENDPOINTS, IP_ADDRESSES, SERVICES
from fairway.objects.status import ApiError
from tests.etcd_members import etcd_members

pytestmark = pytest.mark.clients


class Server:
    """One ``fairway apiserver`` that answers, and a client of it."""

    def __init__(self, directory: Path, etcd: str, address: str) -> None:
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            (
                *(sys.executable, "-m", "fairway.cli.main", "apiserver"),
                *(f"--data-dir={directory}", "--secure-port=0", f"--etcd-servers={etcd}", f"--ready-fd={writing}"),
                f"--advertise-address={address}",
                # Small ranges, so that both servers want the same addresses and ports.
                *("--service-cluster-ip-range=10.96.0.0/24", "--service-node-port-range=30000-30119"),
            ),
            pass_fds=(writing,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.close(writing)
        with open(reading) as ready:
            assert ready.readline() == "ready\n", self.process.communicate(timeout=30)[0].decode()
        self.client = Client(NetworkTransport(load_kubeconfig([directory / "admin.conf"])))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)

    async def create(self, name: str) -> None:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[str]:
    with etcd_members(tmp_path / "etcd") as [member]:
        member.wait_until_ready()
        yield member.url


@pytest.fixture
async def servers(etcd: str, tmp_path: Path) -> AsyncIterator[list[Server]]:
    with ExitStack() as stack:
        started: list[Server] = []
        for name, address in (("one", "192.0.2.1"), ("two", "192.0.2.2")):
            directory = tmp_path / name
            directory.mkdir(mode=0o700)
            if started:
                shutil.copytree(tmp_path / "one" / "pki", directory / "pki")
            started.append(Server(directory, etcd, address))
            stack.callback(started[-1].kill)
        yield started
        for server in started:
            await server.client.close()


async def held(server: Server) -> tuple[list[str], list[int]]:
    """The addresses and node ports of the Services; and the IPAddresses are exactly those."""
    services = (await server.client.list(SERVICES)).items
    addresses = [one.spec.cluster_ip for one in services]
    names = [one.metadata.name for one in (await server.client.list(IP_ADDRESSES)).items]
    assert sorted(names) == sorted(addresses)
    return addresses, [port.node_port for one in services for port in one.spec.ports or () if port.node_port]


async def test_two_servers_share_addresses_ports_and_changes(servers: list[Server]) -> None:
    one, two = servers
    names = [f"s{number}" for number in range(120)]
    since = (await two.client.list(SERVICES)).metadata.resource_version

    # Every port there is, through both at once: the last ones are found only by a server that knows the other's.
    await asyncio.gather(*(servers[number % 2].create(name) for number, name in enumerate(names)))
    addresses, ports = await held(one)
    assert len(set(addresses)) == 121
    assert sorted(ports) == list(range(30000, 30120))

    seen: set[str] = set()
    async with asyncio.timeout(60):
        async with aclosing(two.client.watch(SERVICES, since, seconds=60)) as batches:
            async for events in batches:
                seen |= {event.metadata.name for event in events if event.type == "ADDED"}
                if len(seen) == len(names):
                    break
    assert seen == set(names)

    # What one server gives up the other can take.
    await asyncio.gather(*(one.client.delete(SERVICES, name, "default") for name in names))
    for name in names:
        await two.create(name)
    assert await held(one) == await held(two)
    assert sorted((await held(one))[1]) == list(range(30000, 30120))


async def test_both_servers_are_the_endpoints_of_default_kubernetes_until_one_leaves(servers: list[Server]) -> None:
    async def endpoints() -> list[str]:
        found = await servers[0].client.get(ENDPOINT_SLICES, "kubernetes", "default")
        listed = await servers[0].client.get(ENDPOINTS, "kubernetes", "default")
        addresses = [address for one in found.endpoints or () for address in one.addresses]
        assert [one.ip for subset in listed.subsets or () for one in subset.addresses or ()] == sorted(addresses)
        return addresses

    # The ports are free ones and so differ: each has a slice, and all of them are in the Endpoints.
    slices = (await servers[0].client.list(ENDPOINT_SLICES, "default")).items
    assert sorted(one.endpoints[0].addresses[0] for one in slices if one.endpoints) == ["192.0.2.1", "192.0.2.2"]
    servers[1].process.terminate()
    await asyncio.to_thread(servers[1].process.wait, 30)
    assert await endpoints() == ["192.0.2.1"]


async def test_a_server_that_is_killed_leaves_nothing_half_done(servers: list[Server]) -> None:
    one, two = servers
    halfway = asyncio.Event()

    async def create(server: Server, first: int) -> int:
        made = 0
        with suppress(ServerUnreachable):
            for number in range(first, first + 50):
                await server.create(f"s{number}")
                made += 1
                if server is one and made == 10:
                    halfway.set()
        return made

    through_one, through_two = (asyncio.ensure_future(create(*which)) for which in ((one, 0), (two, 50)))
    await asyncio.wait_for(halfway.wait(), 60)
    one.kill()
    made = await through_one, await through_two
    assert made[1] == 50
    addresses, ports = await held(two)
    # The last one may have been stored without an answer.
    assert sum(made) <= len(ports) <= sum(made) + 1
    assert len(set(ports)) == len(ports)
    assert len(set(addresses)) == len(addresses) == len(ports) + 1
    with pytest.raises(ApiError, match="already exists"):
        await two.create("s0")
