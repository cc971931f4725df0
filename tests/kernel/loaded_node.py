"""One node with Services under load, whose proxy may be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.running import RunningNetwork
from fairway.relay.process import stop_all
from tests.kernel.proxy_world import NODE, VIP, Api, nft, proxy
from tests.kernel.under_load import Load, echo

DNS_VIP = "10.96.7.8"
PORT = 8080


@dataclass
class World:
    """A node with a Service of each protocol, both with two backends that echo, and a proxy that may be replaced."""

    node: NetworkNamespace
    api: Api
    directory: Path
    backends: tuple[str, str]

    def proxy(self, *flags: str, ready: bool = True, version: str = "") -> Any:
        networks = ("--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.96.0.0/16")
        log = self.directory / "proxy.log"
        return proxy(self.node, self.api.kubeconfig, log, *networks, *flags, ready=ready, version=version)

    def flush(self) -> None:
        """Away with all rules of everybody, as ``systemctl reload nftables`` begins."""
        nft(self.node, "flush", "ruleset")


@contextmanager
def loaded_node(network: RunningNetwork, directory: Path, *, relayed: bool = False) -> Iterator[World]:
    """The node of a network that has the pods ``one``, ``two`` and ``shell``, with nothing in its kernel yet."""
    place = network.network.place
    with ExitStack() as stack:
        # A relay outlives its proxies, and would outlive the test.
        stack.callback(place(NODE).run, stop_all)
        for name in ("one", "two"):
            stack.enter_context(echo(place(name), name, PORT))
        api = stack.enter_context(Api(place(NODE), directory / "api"))
        api.node()
        backends = (network.address("one"), network.address("two"))
        for name, address, protocol in (("web", VIP, "TCP"), ("dns", DNS_VIP, "UDP")):
            api.service(name, address, protocol=protocol, relay=str(relayed).lower())
            api.endpoints(name, *backends, protocol=protocol)
        nft(place(NODE), "flush", "ruleset")
        yield World(place(NODE), api, directory, backends)


@contextmanager
def load(network: RunningNetwork, *, chatty: bool = False, flows: int = 5) -> Iterator[Load]:
    """Clients in the pod ``shell``, which have all come once and all come once more in the end."""
    with Load(network.network.place("shell"), (VIP, 80), (DNS_VIP, 80), flows=flows, chatty=chatty) as found:
        found.go_round()
        yield found
        found.go_round()


def nobody_noticed(clients: Load, replacements: int = 0) -> None:
    """No open one was lost and no newcomer kept out; but for one now and then, where tables were replaced or removed.

    The kernel goes over to other rules between two steps of a packet's way, such as two chains or two look-ups. Who
    comes at that very moment may meet neither the old ones nor the new: one of hundreds of replacements does that to
    somebody here. A gap, however short, would do it to a newcomer each few milliseconds.
    """
    assert clients.lost == []
    assert len(clients.failed) <= (1 + replacements // 6 if replacements else 0), clients.failed
    assert clients.arrived > 0
