"""`fairway proxy` at a real kube-apiserver, where FAIRWAY_KUBE_BINARIES names a folder with one.

kube-apiserver on its etcd ── streams, watches ──▶ fairway proxy ──▶ kernel ──▶ pods web-1, web-2
(all of it on the node of a network of namespaces)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairway.client.http import Client
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.objects.codec import Document
from fairway.objects.resources import ENDPOINT_SLICES, NODES, SERVICES
from tests.kernel.proxy_world import NODE, NODE_ADDRESS, VIP, nft, proxy, until
from tests.reference_programs import KubeApiServer, kube_apiserver

pytestmark = pytest.mark.kernel


@pytest.fixture
def node(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    made = make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("web-1", "web-2", "shell")]))
    for name in ("web-1", "web-2"):
        made.serve(name, ServedPort(8080))
    nft(made.network.place(NODE), "flush", "ruleset")
    return made


def test_a_proxy_serves_what_it_is_told_and_goes_on_when_the_server_comes_back(
    node: RunningNetwork, tmp_path: Path
) -> None:
    place, web = node.network.place(NODE), [node.address(name) for name in ("web-1", "web-2")]
    client = node.client_from("shell")

    def answers(expected: set[str]) -> None:
        until(place, lambda: {client.ask(VIP, 80, timeout=1.0).pod for _ in range(16)} == expected, str(expected))

    with kube_apiserver(tmp_path, place) as server:
        if server.version < (1, 21):
            pytest.skip(f"EndpointSlices are v1 since 1.21, this is {'.'.join(map(str, server.version))}")
        tell(place, server, populate)
        tell(place, server, lambda told: told.create(ENDPOINT_SLICES, slice_of(web)))
        networks = ("--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.96.0.0/16")
        with proxy(place, server.kubeconfig, tmp_path / "proxy.log", *networks) as running:
            answers({"web-1", "web-2"})
            server.kill()
            answers({"web-1", "web-2"})
            server.start()
            tell(place, server, lambda told: told.replace(ENDPOINT_SLICES, slice_of(web[1:])))
            answers({"web-2"})
            assert "answers again" in running.said()


def tell(place: NetworkNamespace, server: KubeApiServer, work: Callable[[Client], Awaitable[Any]]) -> None:
    async def speak() -> None:
        async with server.client() as client:
            await work(client)

    place.run(lambda: asyncio.run(speak()))


async def populate(client: Client) -> None:
    addresses = [{"type": "InternalIP", "address": NODE_ADDRESS}]
    await client.create(NODES, {"metadata": {"name": NODE}, "status": {"addresses": addresses}})
    spec = {
        "type": "ClusterIP",
        "clusterIP": VIP,
        "clusterIPs": [VIP],
        "ipFamilies": ["IPv4"],
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
    }
    await client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})


def slice_of(addresses: list[str]) -> Document:
    return {
        "metadata": {
            "name": "web-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
    }
