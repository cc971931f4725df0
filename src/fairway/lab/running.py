"""A network in use by one process: ask from anywhere, serve in any pod. What the pytest fixtures give.

The API's clients, and what they take to import, stay out of here: a network alone has no API.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.network import Network
from fairway.lab.ports import Language, ServedPort
from fairway.lab.probe import Answer, ask
from fairway.lab.servers import Identity, StandIn
from fairway.lab.topology import LabPod, Topology

_TIMEOUT = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """Somebody in a lab who can open connections: a pod, a node, or the client outside."""

    namespace: NetworkNamespace

    def ask(
        self, address: str, port: int, protocol: str = "TCP", *, language: Language = "line", timeout: float = 5.0
    ) -> Answer:
        """Ask the port who it is; tells what happened, also when nobody answers."""
        return ask(self.namespace, address, port, protocol=protocol, language=language, timeout=timeout)

    def connect(self, address: str, port: int, *, timeout: float = 5.0) -> socket.socket:
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
        for host in ("", "::") if self.topology.dual_stack else ("",):
            self._run(server.start(ports, place, host=host))
        self._servers.append(server)
        return server

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT)
