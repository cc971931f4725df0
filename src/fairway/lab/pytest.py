"""Networks and clusters as pytest fixtures: real packets between nodes, pods and a client outside.

pytest_plugins = ["fairway.lab.pytest"]            # not needed where the package is installed

def test_a_pod_reaches_another(make_network):
    network = make_network(cluster(pods=[("web", "node-1"), ("shell", "node-2")]))
    network.serve("web", ServedPort(8080))
    assert network.client_from("shell").ask(network.address("web"), 8080).pod == "web"
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab import remains
from fairway.lab.network import Network
from fairway.lab.ports import Language, ServedPort
from fairway.lab.probe import Answer, ask
from fairway.lab.servers import Identity, StandIn
from fairway.lab.state import State
from fairway.lab.topology import LabPod, Topology, cluster

_PREFIX = "pytest-"
_TIMEOUT = 10.0
_numbers = itertools.count(1)

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """Somebody in a lab who can open connections: a pod, a node, or the client outside."""

    namespace: NetworkNamespace

    def ask(
        self, address: str, port: int, protocol: str = "TCP", *, language: Language = "line", timeout: float = 2.0
    ) -> Answer:
        """Ask the port who it is; tells what happened, also when nobody answers."""
        return ask(self.namespace, address, port, protocol=protocol, language=language, timeout=timeout)

    def connect(self, address: str, port: int, *, timeout: float = 2.0) -> socket.socket:
        """An open TCP connection; close it. Raises `OSError` as ``socket.connect`` does."""
        made = self.namespace.socket()
        made.settimeout(timeout)
        try:
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made


class RunningNetwork:
    """A network with stand-in servers where the test asks for them; the servers run in a thread of the test process."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-ins")
        self._servers: list[StandIn] = []

    def __enter__(self) -> RunningNetwork:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._run(server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT)
        self._loop.close()

    @property
    def topology(self) -> Topology:
        return self.network.topology

    def pod(self, name: str) -> LabPod:
        """The pod called ``namespace/name`` (or ``name``, in ``default``); raises `LabError`."""
        namespace, _, bare = name.rpartition("/")
        return self.topology.pod(bare, namespace or "default")

    def address(self, name: str) -> str:
        """The address of a pod."""
        return self.pod(name).address

    def client_from(self, place: str) -> Client:
        """Somebody at a pod, at a node, or ``outside``; raises `LabError` for an unknown place."""
        return Client(self.network.place(place))

    def serve(self, name: str, *ports: ServedPort) -> StandIn:
        """Let a pod answer on these ports, with its name."""
        pod = self.pod(name)
        place = self.network.pod(pod.name, pod.namespace)
        return self._start(Identity(pod.name, pod.namespace, pod.node, pod.address), place, ports)

    def serve_at(self, place: str, *ports: ServedPort, says: str) -> StandIn:
        """Let anybody, a node or ``outside`` too, answer on these ports, and call himself what you like."""
        return self._start(Identity(says, "", "", ""), self.network.place(place), ports)

    def serve_all(self, *ports: ServedPort) -> None:
        """Let every pod answer on these ports."""
        for pod in self.topology.pods:
            self.serve(pod.key, *ports)

    def stop(self, server: StandIn) -> None:
        """Close a server that `serve` gave, with its connections."""
        self._run(server.close())

    def _start(self, identity: Identity, place: NetworkNamespace, ports: tuple[ServedPort, ...]) -> StandIn:
        server = StandIn(identity)
        self._run(server.start(ports, place))
        self._servers.append(server)
        return server

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT)


@pytest.fixture(scope="session")
def machine_for_labs() -> None:
    """A machine on which a lab can be built; clears away what a killed test session left."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root, to make network namespaces")
    for name in remains.orphans(_PREFIX):
        remains.remove(name)


@pytest.fixture(scope="module")
def make_network(machine_for_labs: None) -> Iterator[Callable[[Topology], RunningNetwork]]:
    """Build networks from topologies; all of them go when the test module is done.

    The topology's own name is replaced by one that nobody else uses.
    """
    with ExitStack() as stack:

        def make(topology: Topology) -> RunningNetwork:
            named = replace(topology, name=_fresh_name())
            state = State(named.name)
            state.claim(named)
            stack.callback(state.remove)
            return stack.enter_context(RunningNetwork(stack.enter_context(Network(named))))

        yield make


@pytest.fixture(scope="module")
def lab_network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    """Three nodes with two pods each, ``a-1 a-2`` on ``node-1`` to ``c-2`` on ``node-3``; nothing is served yet."""
    pods = [(f"{letter}-{i}", f"node-{n}") for n, letter in enumerate("abc", start=1) for i in (1, 2)]
    return make_network(cluster(pods=pods))


def _fresh_name() -> str:
    return f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
