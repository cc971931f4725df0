"""What a relayed Service asks for and cannot have is an Event of it; what it had stays, as do all others."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fairway.kernel.links import set_sysctls
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from tests.kernel.loaded_node import World, loaded_node
from tests.kernel.proxy_world import NODE, PATIENCE, VIP, until
from tests.kernel.relay_world import secret
from tests.unit.certificate import pair

pytestmark = pytest.mark.kernel

NOT_PEM = {"tls.crt": "aGVsbG8=", "tls.key": "aGVsbG8="}


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    return make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("one", "two", "shell")]))


@pytest.fixture
def world(network: RunningNetwork, tmp_path: Path) -> Iterator[World]:
    with loaded_node(network, tmp_path) as made:
        yield made


def _connected(network: RunningNetwork, address: str = VIP) -> socket.socket:
    made = network.network.place("shell").socket()
    made.settimeout(PATIENCE)
    try:
        made.connect((address, 80))
    except OSError:
        made.close()
        raise
    return made


def _answer(sock: socket.socket) -> bytes:
    with closing(sock):
        sock.sendall(b"hello")
        return sock.recv(64)


def _served(network: RunningNetwork, address: str = VIP) -> bool:
    try:
        return _answer(_connected(network, address)) in (b"one", b"two")
    except OSError:
        return False


def _served_over_tls(network: RunningNetwork, certificate: bytes) -> bool:
    context = ssl.create_default_context(cadata=certificate.decode())
    context.check_hostname = False
    try:
        with closing(_connected(network)) as sock:
            return _answer(context.wrap_socket(sock)) in (b"one", b"two")
    except OSError:
        return False


def test_a_certificate_that_cannot_be_used_is_told_and_the_one_before_stays(
    world: World, network: RunningNetwork
) -> None:
    certificate, key = pair("web")
    wrong = (
        "node node-1: Secret default/web: data[tls.crt] holds no certificate in PEM (-----BEGIN CERTIFICATE-----); "
        "the one before stays in use"
    )
    with world.proxy() as running:
        world.api.annotate("web", tls_secret="web")
        missing = ("web", "SecretUnusable", "node node-1: Secret default/web does not exist")
        until(world.node, lambda: missing in world.api.events(), "a missing Secret is told")
        until(world.node, lambda: not _served(network), "nobody is served in plain words")
        world.api.secret("web", secret(certificate, key))
        until(world.node, lambda: _served_over_tls(network, certificate), "TLS ends here")
        world.api.secret("web", NOT_PEM, replace=True)
        until(world.node, lambda: ("web", "SecretUnusable", wrong) in world.api.events(), "a broken one is told")
        assert wrong.removeprefix("node node-1: ") in running.status()["notes"]
        assert _served_over_tls(network, certificate)


def test_a_listener_without_a_port_is_told_and_its_service_stays_as_it_was(
    world: World, network: RunningNetwork
) -> None:
    names = ("web", "a", "b")
    addresses = dict(zip(names, (VIP, "10.96.7.21", "10.96.7.22"), strict=True))
    for name in names[1:]:
        world.api.service(name, addresses[name])
        world.api.endpoints(name, *world.backends)
    with world.proxy() as running:
        # Two ports, for three listeners; connections from here to different places may share one.
        set_sysctls({"net.ipv4.ip_local_port_range": "40000 40001"}, world.node)
        for name in names:
            world.api.annotate(name, relay="true")
            sentence = f"no port for {addresses['b']}:80/TCP (cluster pool) at 169.254.77.77"
        until(world.node, lambda: sentence in running.said(), "there is none for the third")
        set_sysctls({"net.ipv4.ip_local_port_range": "32768 60999"}, world.node)
        assert all(_served(network, one) for one in addresses.values())
        assert running.status()["relay"]["listeners"] == 2
        until(
            world.node,
            lambda: any(one[:2] == ("b", "KernelRefused") and sentence in one[2] for one in world.api.events()),
            "it is an Event",
        )
