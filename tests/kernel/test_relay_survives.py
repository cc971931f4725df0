"""Relayed Services under load: nobody is refused and no connection is lost while the proxy is replaced."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from fairway.diagnose.leftovers import look
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.relay.process import running
from tests.kernel.loaded_node import DNS_VIP, World, load, loaded_node
from tests.kernel.proxy_world import NODE, PATIENCE, Proxy, until

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    return make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("one", "two", "shell")]))


@pytest.fixture
def world(network: RunningNetwork, tmp_path: Path) -> Iterator[World]:
    with loaded_node(network, tmp_path, relayed=True) as made:
        yield made


def test_a_proxy_that_is_killed_and_one_that_is_stopped_are_noticed_by_nobody(
    world: World, network: RunningNetwork
) -> None:
    with ExitStack() as stack:
        first: Proxy = stack.enter_context(world.proxy())
        clients = stack.enter_context(load(network))
        first.kill()
        clients.go_round()
        second: Proxy = stack.enter_context(world.proxy())
        assert "it held all of it already" in second.said()
        clients.go_round()
        assert second.stop() == 0
        clients.go_round()
        stack.enter_context(world.proxy())
        clients.go_round()
    assert (clients.lost, clients.failed) == ([], [])
    assert clients.arrived > 0


def test_an_upgrade_refuses_nobody_and_the_relay_before_ends_with_its_last_connection(
    world: World, network: RunningNetwork
) -> None:
    with ExitStack() as stack:
        first: Proxy = stack.enter_context(world.proxy(version="0.0.1"))
        clients = stack.enter_context(load(network, flows=0))
        old = _relay(first)
        assert first.stop() == 0
        second: Proxy = stack.enter_context(world.proxy())
        clients.go_round()
        assert _relay(second) not in (0, old)
        assert f"an earlier relay goes on for {clients.connections} connections" in second.said()
    assert (clients.lost, clients.failed) == ([], [])
    handle = os.pidfd_open(old)
    try:
        assert select.select([handle], [], [], PATIENCE)[0], "the relay before has not ended"
    finally:
        os.close(handle)


def test_a_relay_that_is_killed_is_replaced_at_the_same_ports(world: World, network: RunningNetwork) -> None:
    with ExitStack() as stack:
        first: Proxy = stack.enter_context(world.proxy())
        with load(network):
            relay = _relay(first)
        os.kill(relay, signal.SIGKILL)
        until(world.node, lambda: "put back" in first.said(), "the log tells of a repair")
        assert f"the end of the relay (process {relay})" in first.said()
        clients = stack.enter_context(load(network))
    assert (clients.lost, clients.failed) == ([], [])


def test_flows_of_a_service_go_through_the_relay_as_soon_as_it_is_relayed_and_back(
    network: RunningNetwork, tmp_path: Path
) -> None:
    with loaded_node(network, tmp_path) as world, world.proxy() as running, _client(network) as client:
        _ask(client)
        world.api.annotate("dns", relay="true")
        until(world.node, lambda: _asked(client) and _figure(running, "flows") == 1, "the flow is the relay's")
        world.api.annotate("dns", relay=None)
        until(world.node, lambda: _asked(client) and _figure(running, "flows") == 0, "the flow is the kernel's again")
        _ask(client)


def test_cleaning_up_ends_the_relay(world: World) -> None:
    with world.proxy() as first:
        process = _relay(first)
        in_use = {one.kind for one in world.node.run(look).leftovers if one.in_use}
        assert "relay" in in_use
        assert first.stop() == 0
    (left,) = (one for one in world.node.run(look).leftovers if one.kind == "relay")
    assert left.names == (f"process {process} with 2 listeners, 0 connections, 0 UDP flows",)
    assert (left.owner, left.in_use, left.how) == ("Fairway", "", f"kill {process}")
    with world.proxy("--cleanup", ready=False) as cleaning:
        assert cleaning.process.wait(PATIENCE) == 0
    assert f"removed: relay: process {process} with 2 listeners" in cleaning.said()
    assert list(world.node.run(lambda: list(running()))) == []


def _relay(proxy: Proxy) -> int:
    return _figure(proxy, "process")


def _figure(proxy: Proxy, name: str) -> int:
    return int(proxy.status()["relay"][name])


@contextmanager
def _client(network: RunningNetwork) -> Iterator[socket.socket]:
    """One that keeps its port, so that the kernel takes all its datagrams for one flow."""
    with closing(network.network.place("shell").socket(kind=socket.SOCK_DGRAM)) as made:
        made.connect((DNS_VIP, 80))
        yield made


def _ask(client: socket.socket, patience: float = PATIENCE) -> None:
    client.settimeout(patience)
    client.send(b"hello")
    assert client.recv(64) in (b"one", b"two")


def _asked(client: socket.socket) -> bool:
    """A datagram may be lost on its way, or refused in the middle of a change."""
    try:
        _ask(client, 0.2)
    except OSError:
        return False
    return True
