"""Scenarios read from their folders: what the user applied, the packets that follow, and the stage they happen on.

scenarios/README.md documents the files; everybody who runs scenarios (the model, each mode, real packets) reads them
through `Scenario`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import msgspec

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.lab.network import BRIDGE
from fairway.lab.topology import (
    OUTSIDE_CLIENT,
    POD_NETWORK,
    SERVICE_NETWORK,
    LabNode,
    cluster,
    ipv6,
    ipv6_network,
)
from fairway.model.address import contains
from fairway.model.packet import ICMP, PROTOCOLS, Outcome, Packet, Verdict
from fairway.model.relaying import RELAYED
from fairway.model.resolve import resolve
from fairway.model.view import NodeSettings, NodeView
from fairway.modes.registry import RELAYING_MODES
from fairway.objects.codec import read_yaml

FOLDER = Path(__file__).parent / "scenarios"
NODE_UNDER_TEST = "node-1"
UPLINK = "eth0"
"""By which a node hears of everybody but its own pods."""
# Every pod of the stage answers on these, so that a scenario can lead any of its Services to any of them.
SERVED = (("TCP", 8080), ("TCP", 9090), ("TCP", 5353), ("UDP", 5353), ("UDP", 8080), ("SCTP", 8080))
STAGE = replace(
    cluster(
        "scenarios",
        nodes=3,
        pods=[(f"{name}-{number}", f"node-{number}") for number in (1, 2, 3) for name in ("client", "web", "api")],
    ),
    dual_stack=True,
)
POD_NETWORKS = (str(POD_NETWORK), ipv6_network(POD_NETWORK))
SERVICE_NETWORKS = (str(SERVICE_NETWORK), ipv6_network(SERVICE_NETWORK))


@dataclass(frozen=True)
class Place:
    """Somebody who sends packets: an address in each family, the node that handles them first, and whether it is it.

    ``interface`` is where they come in there.
    """

    address: str
    node: str
    local: bool = False
    interface: str = ""

    def facing(self, destination: str) -> str:
        """The address in the family of another."""
        return ipv6(self.address) if ":" in destination else self.address

    @property
    def addresses(self) -> tuple[str, str]:
        return self.address, ipv6(self.address)


PLACES: Mapping[str, Place] = {
    "outside": Place(OUTSIDE_CLIENT, NODE_UNDER_TEST, interface=UPLINK),
    **{pod.name: Place(pod.address, pod.node, interface=BRIDGE) for pod in STAGE.pods},
    **{node.name: Place(node.address, node.name, local=True) for node in STAGE.nodes},
}
NODE_AT = {address: node.name for node in STAGE.nodes for address in (node.address, ipv6(node.address))}
_LINE = re.compile(
    r"(?P<protocol>\w+)\s+(?P<client>\S+)\s+->\s+(?P<address>[0-9.]+|\[[0-9a-f.:]+\])(?::(?P<port>\d+))?\s+"
    r"(?P<verdict>\w+)(?:\s+(?P<backends>.+))?"
)
_GROUP = re.compile(r"(?P<names>\S+:\d+(?:\s+\S+:\d+)*)\s+as\s+(?P<source>client|node)")


class ScenarioError(ValueError):
    """A scenario's file that cannot be read; the message begins with the file and the line."""


@dataclass(frozen=True)
class Expectation:
    """One line of packets.txt: a packet, where it is handled, and how it must end.

    ``backends`` are (address, port, masqueraded), as in `Outcome.essence`.
    """

    place: str
    client: str
    packet: Packet
    verdict: Verdict
    backends: frozenset[tuple[str, int, bool]]

    @property
    def essence(self) -> tuple[Verdict, frozenset[tuple[str, int, bool]]]:
        return self.verdict, self.backends

    def relayed(self) -> Expectation:
        """What becomes of it where the node itself connects to the backend."""
        return replace(self, backends=frozenset((address, port, True) for address, port, _ in self.backends))

    def journey(self, answer: Callable[[str, Packet], Outcome]) -> Outcome:
        """How it ends in the whole cluster, when ``answer`` tells how it ends on one node.

        A packet to another node's own address passes the first node, and is handled where it arrives.
        """
        first = PLACES[self.client].node
        if not PLACES[self.client].local:
            # From outside, a packet to a node's own address goes straight there.
            first = NODE_AT.get(self.packet.destination, first) if self.client == "outside" else first
        outcome = answer(first, self.packet)
        second = NODE_AT.get(self.packet.destination, first)
        if outcome.verdict is Verdict.PASS and second != first:
            return answer(second, msgspec.structs.replace(self.packet, local=False, interface=UPLINK))
        return outcome


@dataclass(frozen=True)
class Step:
    """What is applied at one moment of a scenario, and the packets sent then. ``suffix`` is empty or ``-<number>``.

    With ``relays`` everything is relayed, so that backends see the node where packets.txt says that they see clients.
    """

    folder: Path
    suffix: str
    relays: bool = False

    @property
    def name(self) -> str:
        return self.folder.name + self.suffix

    def file(self, stem: str, ending: str) -> Path:
        return self.folder / f"{stem}{self.suffix}.{ending}"

    @cached_property
    def cluster(self) -> Cluster:
        networks = Networks(services=SERVICE_NETWORKS, pods=POD_NETWORKS)
        return from_documents(read_yaml(self.file("objects", "yaml").read_text()), networks)

    @cached_property
    def expectations(self) -> tuple[Expectation, ...]:
        lines = read_packets(self.file("packets", "txt"))
        return tuple(line.relayed() if self.relays and line.packet.protocol in RELAYED else line for line in lines)

    def in_mode(self, mode: str) -> Step:
        """The step as a node's mode makes it."""
        relays = mode in RELAYING_MODES
        return self if relays is self.relays else replace(self, relays=relays)

    def settings(self, node: LabNode) -> NodeSettings:
        """The node of the stage, as the scenario's node.yaml configures all of them."""
        configured = self.folder / "node.yaml"
        changes = msgspec.yaml.decode(configured.read_bytes(), type=NodeConfiguration) if configured.exists() else None
        changes = changes or NodeConfiguration()
        return NodeSettings(
            name=node.name,
            zone=node.zone if changes.zone is None else changes.zone,
            addresses=(*addresses_of(node), "127.0.0.1", "::1"),
            pod_networks=changes.pod_networks,
            pod_interface=changes.pod_interface,
            service_networks=SERVICE_NETWORKS,
            node_port_addresses=changes.node_ports(node),
            localhost_node_ports=changes.localhost_node_ports,
            answers_ping=(node.address, ipv6(node.address)) if changes.answers_ping else (),
            masquerade_all=changes.masquerade_all,
            relays=self.relays,
        )

    @cached_property
    def views(self) -> Mapping[str, NodeView]:
        """What each node of the stage should do."""
        services, slices = self.cluster.services.values(), self.cluster.slices
        return {node.name: resolve(services, slices, self.settings(node)) for node in STAGE.nodes}

    @property
    def view(self) -> NodeView:
        return self.views[NODE_UNDER_TEST]


class NodeConfiguration(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """node.yaml: how the nodes are configured, where it is not the usual way."""

    pod_networks: tuple[str, ...] = POD_NETWORKS
    pod_interface: str = ""
    masquerade_all: bool = False
    localhost_node_ports: bool = False
    answers_ping: bool = False
    zone: str | None = None
    """The zone of all nodes; empty: the nodes have no zone label. None means the stage's zones."""
    node_port_networks: tuple[str, ...] | None = None
    """The addresses that take node ports, as ``--nodeport-addresses`` says it; None means all of the node."""

    def node_ports(self, node: LabNode) -> tuple[str, ...] | None:
        if self.node_port_networks is None:
            return None
        return tuple(one for one in addresses_of(node) if contains(self.node_port_networks, one))


def addresses_of(node: LabNode) -> tuple[str, ...]:
    """What the node of the stage has on its links, loopback aside."""
    return tuple(one for address in (node.address, node.gateway) for one in (address, ipv6(address)))


class Description(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """scenario.yaml: what has to be said about a scenario."""

    asserts: str = ""
    proves: tuple[str, ...] = ()
    """The rows of the reference's list of tests (tests/datapath-rules.yaml) that it proves."""
    not_applicable: dict[str, str] = {}
    """The reason by the name of each mode that does something else on purpose."""


@dataclass(frozen=True)
class Scenario:
    """A folder. ``not_applicable`` has a reason for each mode that is not held to it."""

    folder: Path
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def description(self) -> Description:
        path = self.folder / "scenario.yaml"
        try:
            return msgspec.yaml.decode(path.read_bytes(), type=Description) if path.exists() else Description()
        except msgspec.DecodeError as error:
            raise ScenarioError(f"{self.name}/{path.name}: {error}") from None

    def not_applicable(self, mode: str) -> str:
        """Why this mode is not held to the scenario; empty when it is."""
        return self.description.not_applicable.get(mode, "")


@cache
def scenarios() -> tuple[Scenario, ...]:
    """Every folder with a scenario in it, by name."""
    folders = sorted(one for one in FOLDER.iterdir() if one.is_dir() and list(one.glob("objects*.yaml")))
    return tuple(Scenario(one, tuple(_steps(one))) for one in folders)


def _steps(folder: Path) -> Iterator[Step]:
    for path in sorted(folder.glob("objects*.yaml")):
        yield Step(folder, path.stem.removeprefix("objects"))


def read_packets(path: Path) -> Iterator[Expectation]:
    """The lines of a packets.txt; raises `ScenarioError`."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        where = f"{path.parent.name}/{path.name}:{number}"
        try:
            yield _read_line(where, text)
        except ScenarioError as error:
            raise ScenarioError(f"{where}: {error}") from None


def _read_line(where: str, text: str) -> Expectation:
    match = _LINE.fullmatch(text)
    if match is None:
        raise ScenarioError(f"expected `tcp CLIENT -> ADDRESS:PORT VERDICT [BACKENDS]`, got {text!r}")
    protocol, client, verdict = match["protocol"].upper(), match["client"], match["verdict"]
    if protocol not in (*PROTOCOLS, "PING"):
        raise ScenarioError(f"no protocol {match['protocol']!r}")
    protocol = ICMP if protocol == "PING" else protocol
    if (protocol == ICMP) == bool(match["port"]):
        raise ScenarioError("a ping has no port, and everything else has one")
    if client not in PLACES:
        raise ScenarioError(f"nobody is called {client!r}; there are {', '.join(sorted(PLACES))}")
    if verdict not in list(Verdict):
        raise ScenarioError(f"no verdict {verdict!r}; one of {', '.join(Verdict)}")
    if (verdict == Verdict.DELIVER) != bool(match["backends"]):
        raise ScenarioError("`deliver`, and nothing else, names backends")
    place = PLACES[client]
    destination = match["address"].strip("[]")
    packet = Packet(
        source=place.facing(destination),
        destination=destination,
        protocol=protocol,
        port=int(match["port"] or 0),
        local=place.local,
        interface=place.interface,
    )
    return Expectation(
        where, client, packet, Verdict(verdict), frozenset(_backends(match["backends"] or "", destination))
    )


def _backends(text: str, destination: str) -> Iterator[tuple[str, int, bool]]:
    for group in filter(None, (one.strip() for one in text.split(","))):
        match = _GROUP.fullmatch(group)
        if match is None:
            raise ScenarioError(f"expected `NAME:PORT … as client` or `… as node`, got {group!r}")
        for name in match["names"].split():
            place, _, port = name.rpartition(":")
            if place not in PLACES and not re.fullmatch(r"[0-9.]+", place):
                raise ScenarioError(f"no backend is called {place!r}")
            address = PLACES[place].facing(destination) if place in PLACES else place
            yield address, int(port), match["source"] == "node"
