"""`fairway switch` to ipvs and away from it, in a guest: connections go on, and IPVS goes when they have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.diagnose.leftovers import look as leftovers
from fairway.diagnose.orders import give
from fairway.kernel.command import run
from fairway.kernel.ipvs import Ipvs
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.modes.ipvs.parts import DEVICE, Virtual
from fairway.proxy.switching import Order
from tests.kernel.proxy_world import NODE, NODE_ADDRESS, VIP, Api, Conversation, Proxy, proxy
from tests.kernel.under_load import Load, echo

# What takes half a minute takes two where processors are taken away, and every packet is this one's work.
pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

DNS_VIP, TALK_VIP, IDLE_VIP = "10.96.7.8", "10.96.7.10", "10.96.7.11"
NODE_PORT = 30080


def told(place: NetworkNamespace, to: str, until_phase: str = "done", **more: Any) -> dict[str, Any]:
    """The word in which it is so far."""
    last: dict[str, Any] = {}
    for document in give(Order(to=to, **more), place):
        last |= document
        assert last.get("error", "") == "", last
        if last["phase"] == until_phase:
            break
    assert last["phase"] == until_phase, last
    return last


def held(place: NetworkNamespace) -> tuple[set[str], set[str], bool]:
    """Addresses of virtual servers, addresses that local routes stand in for, whether the device is there."""

    def look() -> tuple[set[str], set[str], bool]:
        with Ipvs() as ipvs, Links() as links:
            addresses = {one.address for one in ipvs.services() if isinstance(one, Virtual)}
            return addresses, set(links.local_routes()), DEVICE in links.names()

    return place.run(look)


WAYS = (("shell", (TALK_VIP, 80)), ("outside", (NODE_ADDRESS, NODE_PORT)), (NODE, (TALK_VIP, 80)))
"""From a pod, from outside by the node port, and from the node itself."""


@contextmanager
def serving(network: RunningNetwork, directory: Path) -> Iterator[Callable[[], AbstractContextManager[Proxy]]]:
    """Services with backends, and what starts a proxy that is configured for the iptables mode."""
    place = network.network.place
    backends = (network.address("one"), network.address("two"))
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(echo(place(name), name, 8080))
        api = stack.enter_context(Api(place(NODE), directory))
        api.node()
        for name, address, protocol in (("web", VIP, "TCP"), ("dns", DNS_VIP, "UDP"), ("idle", IDLE_VIP, "TCP")):
            api.service(name, address, protocol=protocol)
            api.endpoints(name, *backends, protocol=protocol)
        api.service("talk", TALK_VIP, node_port=NODE_PORT)
        api.endpoints("talk", network.address("talk"))
        mode = ("--proxy-mode=iptables", "--iptables-variant=legacy", "--cluster-cidr=10.244.0.0/16")
        flags = (*mode, f"--state-file={directory / 'state.json'}")
        yield lambda: proxy(place(NODE), api.kubeconfig, directory / "proxy.log", *flags)


def test_to_ipvs_and_back_and_killed_while_it_drains_and_nobody_notices(
    make_network: Callable[[Topology], RunningNetwork], tmp_path: Path
) -> None:
    network = make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("one", "two", "shell", "talk")]))
    place = network.network.place
    node = place(NODE)
    with serving(network, tmp_path) as begin, ExitStack() as proxies:
        running = proxies.enter_context(begin())
        with ExitStack() as stack:

            def converse() -> list[Conversation]:
                return [stack.enter_context(Conversation(place(who), to, [place("talk")])) for who, to in WAYS]

            talks = converse()
            clients = stack.enter_context(Load(place("shell"), (VIP, 80), (DNS_VIP, 80), connections=2, flows=1))
            clients.go_round()
            assert told(node, "ipvs")["equivalence"]["same"]
            assert "KUBE-SVC-" not in run(["iptables-legacy-save"], namespace=node)
            talks += converse()
            assert told(node, "iptables", "drain")["connections"] > 0
            virtual, routes, device = held(node)
            assert ({VIP, TALK_VIP} <= virtual, IDLE_VIP in virtual, device) == (True, False, False)
            assert TALK_VIP in routes
            kinds = {one.kind for one in node.run(leftovers).leftovers if one.in_use}
            assert {"virtual servers", "ipset", "routes"} <= kinds
            talks += converse()
            running.kill()
            running = proxies.enter_context(begin())
            assert running.get("/proxyMode") == (200, "iptables")
            assert TALK_VIP in held(node)[1]
            clients.go_round()
            assert all(one.still_works() for one in talks)
            assert told(node, "ipvs")["from"] == "iptables (legacy)"
            assert held(node)[1:] == (set(), True)
            clients.go_round()
            assert all(one.still_works() for one in talks)
        assert (clients.lost, clients.failed) == ([], [])
        told(node, "iptables", drain_seconds=0.1)
        assert held(node) == (set(), set(), False)
        assert "KUBE-IPVS" not in run(["iptables-legacy-save"], namespace=node)
        assert run(["ipset", "list", "-n"], namespace=node).split() == []
        assert running.get("/proxyMode") == (200, "iptables")
