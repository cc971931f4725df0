"""The way of a packet in a measurement: a client, a node with a proxy, and everybody behind it.

    client 10.255.255.2 ──── node ────────────── backends
      a pod, by its address   the proxy, and      every address of every
                              an API server       backend, on one machine
                              on its loopback

Three network namespaces and two cables; each proxy that is measured has a path of its own.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from fairway.bench.process import BenchFailed, Program, ProxyProcess
from fairway.bench.server import ListServer
from fairway.bench.shape import BACKEND_NETWORK, PORT, TARGET_PORT, Shape
from fairway.kernel import namespaces
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.links import Links, set_sysctls
from fairway.kernel.namespaces import NetworkNamespace

CLIENT, GATEWAY = "10.255.255.2", "10.255.255.1"
NODE_ADDRESS, BACKENDS_ADDRESS = "192.0.2.1", "192.0.2.2"
_SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.icmp_ratelimit": "0"}
_ANSWER_SECONDS = 600.0
_LOOK_SECONDS = 0.01
TRY_SECONDS = 0.2
_numbers = count(1)
RESET = struct.pack("ii", 1, 0)
"""What SO_LINGER takes for a connection that ends with a reset."""


@dataclass(frozen=True)
class Sink:
    """What the backends' port leads to."""

    listener: socket.socket
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Leave the port to somebody else."""
        self.process.kill()
        self.process.wait()
        self.listener.close()


@dataclass(frozen=True)
class Path:
    """One of them, with its proxy running."""

    shape: Shape
    program: Program
    client: NetworkNamespace
    node: NetworkNamespace
    backends: NetworkNamespace
    sink: Sink
    api: ListServer
    proxy: ProxyProcess

    @property
    def targets(self) -> dict[str, tuple[str, int]]:
        """Where connections go: past the proxy, and through the first, the middle and the last Service."""
        last = self.shape.services - 1
        through = {"first": 0, "middle": last // 2, "last": last}
        services = {name: (self.shape.address(number), PORT) for name, number in through.items()}
        return {"direct": (self.shape.backend_address(0), TARGET_PORT), **services}

    def wait_until_answering(self) -> float:
        """Seconds from the start of the process until every target answers. Raises `BenchFailed`."""
        pause = threading.Event()
        for name, (address, port) in self.targets.items():
            while not answers(self.client, address, port):
                self.proxy.check_alive()
                if time.perf_counter() - self.proxy.begun > _ANSWER_SECONDS:
                    raise BenchFailed(
                        f"the {name} Service does not answer after {_ANSWER_SECONDS:g} s; the proxy said:\n"
                        + self.proxy.last_words()
                    )
                pause.wait(_LOOK_SECONDS)
        took = time.perf_counter() - self.proxy.begun
        self.node.run(self._forget)
        return took

    def _forget(self) -> None:
        """A client that came before the rules is tracked as it came: nobody from its port would be answered."""
        with Conntrack() as conntrack:
            for address, port in self.targets.values():
                conntrack.forget(Match("TCP", address, port))


@contextmanager
def laid(shape: Shape, program: Program) -> Iterator[Path]:
    """A path with its proxy started, for as long as the ``with`` block; then nothing is left of it.

    Raises PermissionError without the right to make namespaces.
    """
    with ExitStack() as stack:
        prefix = f"fairway-bench-{os.getpid()}-{next(_numbers)}-"
        client, node, backends = (
            stack.enter_context(namespaces.created(prefix + name)) for name in ("client", "node", "backends")
        )
        _wire(client, node, backends)
        sink = _sink(backends)
        stack.callback(sink.stop)
        listener = node.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        api = stack.enter_context(ListServer(listener, shape.lists()))
        proxy = stack.enter_context(ProxyProcess.started(program, node, port))
        yield Path(shape, program, client, node, backends, sink, api, proxy)


def answers(namespace: NetworkNamespace | None, address: str, port: int) -> bool:
    """Whether a connection can be made now, from there (``None``: from where this thread is)."""
    with namespace.socket() if namespace else socket.socket() as made:
        # Ended by a reset, so that no port waits behind.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        made.settimeout(TRY_SECONDS)
        return made.connect_ex((address, port)) == 0


def _wire(client: NetworkNamespace, node: NetworkNamespace, backends: NetworkNamespace) -> None:
    set_sysctls(_SYSCTLS, node)
    with Links(node) as links:
        links.set_up("lo")
        for name, peer, address in (("client", client, f"{GATEWAY}/30"), ("eth0", backends, f"{NODE_ADDRESS}/24")):
            links.add_veth(name, "eth0", peer)
            links.add_address(name, address)
            links.set_up(name)
        links.add_route(BACKEND_NETWORK, via=BACKENDS_ADDRESS)
        # What nobody translates goes nowhere; a route there must be, or it would be refused before anybody could.
        links.add_route("default", via=BACKENDS_ADDRESS)
    for namespace, address, gateway in (
        (client, f"{CLIENT}/30", GATEWAY),
        (backends, f"{BACKENDS_ADDRESS}/24", NODE_ADDRESS),
    ):
        with Links(namespace) as links:
            links.set_up("lo")
            links.add_address("eth0", address)
            links.set_up("eth0")
            links.add_route("default", via=gateway)
    with Links(backends) as links:
        # The loopback device has every address of the networks that it has one of.
        links.add_address("lo", BACKEND_NETWORK)


def _sink(backends: NetworkNamespace) -> Sink:
    listener = backends.socket()
    try:
        listener.bind(("", TARGET_PORT))
        listener.listen(4096)
        command = [sys.executable, "-m", "fairway.bench.sink", str(listener.fileno())]
        return Sink(listener, subprocess.Popen(command, pass_fds=(listener.fileno(),)))
    except BaseException:
        listener.close()
        raise
