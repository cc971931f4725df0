"""The shape of a lab as a value: who is there, with which address. Pure; `fairway.lab.network` makes it real.

                  outside client 192.0.2.10
                            │
                 192.0.2.1  │
     ┌────────────────── router ──────────────────┐   the API server listens here,
     │            172.30.0.254, a switch          │   on 172.30.0.254:6443
172.30.0.1             172.30.0.2            172.30.0.3
  node-1                 node-2                node-3      routes to each other's pods
cni0 10.244.1.1        cni0 10.244.2.1       cni0 10.244.3.1
  │       │               │      │              │
 pod     pod             pod    pod            pod         10.244.<node>.2 and up
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from fairway.lab.errors import LabError

FABRIC = IPv4Network("172.30.0.0/24")
ROUTER_ADDRESS = "172.30.0.254"
OUTSIDE = IPv4Network("192.0.2.0/24")
OUTSIDE_GATEWAY = "192.0.2.1"
OUTSIDE_CLIENT = "192.0.2.10"
POD_NETWORK = IPv4Network("10.244.0.0/16")
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
ZONES = ("zone-a", "zone-b", "zone-c")
MOST_NODES = 100

# Neither a lab's name nor a namespace's can hold a dot, so the parts of `fw-lab.shop.frontend-1` cannot be confused.
_LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_FILE_NAME = 255
_NOT_NODES = ("router", "outside")
CLIENT = "client-"


@dataclass(frozen=True)
class LabNode:
    """A machine of the cluster: ``address`` on the fabric, ``pod_cidr`` behind its bridge ``cni0``."""

    name: str
    address: str
    pod_cidr: str
    zone: str

    @property
    def gateway(self) -> str:
        """The address of ``cni0``: the first of the node's pod network."""
        return str(IPv4Network(self.pod_cidr)[1])

    @property
    def client(self) -> LabPod:
        """The lab's own client on this node: in the place of a pod, but unknown to the API."""
        return LabPod(f"{CLIENT}{self.name}", self.name, str(IPv4Network(self.pod_cidr)[-2]), "")

    @property
    def pod_addresses(self) -> Iterable[str]:
        """Every address that a pod of this node may have, lowest first."""
        network = IPv4Network(self.pod_cidr)
        return (str(network[offset]) for offset in range(2, network.num_addresses - 2))


@dataclass(frozen=True)
class LabPod:
    """A pod and its place: which node, which address. The lab's own clients have no (Kubernetes) namespace."""

    name: str
    node: str
    address: str
    namespace: str = "default"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def link(self) -> str:
        """The name of its cable on the node's side: a link's name has at most 15 characters, a pod's 253."""
        return "veth" + hashlib.sha256(self.key.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Topology:
    """A whole lab. Raises `LabError` when names or addresses contradict each other."""

    name: str
    nodes: tuple[LabNode, ...]
    pods: tuple[LabPod, ...] = ()
    dual_stack: bool = False
    """Whether everybody has the address `ipv6` of his own as well, with routes like those of IPv4."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for node in self.nodes:
            _check_node(node)
        _check_unique("node name", (node.name for node in self.nodes))
        _check_unique("node address", (node.address for node in self.nodes))
        _check_unique("pod network", (node.pod_cidr for node in self.nodes))
        _check_unique("pod", (pod.key for pod in self.pods))
        _check_unique("pod address", (pod.address for pod in self.everybody))
        for pod in self.pods:
            self._check_pod(pod)

    @property
    def everybody(self) -> tuple[LabPod, ...]:
        """The pods and the clients."""
        return (*(node.client for node in self.nodes), *self.pods)

    def node(self, name: str) -> LabNode:
        """The node of that name; raises `LabError` naming those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"there is no node {name!r} in the lab {self.name}; its nodes are {known}")

    def pod(self, name: str, namespace: str = "default") -> LabPod:
        """The pod of that name; raises `LabError`."""
        for pod in self.pods:
            if (pod.namespace, pod.name) == (namespace, name):
                return pod
        raise LabError(f"there is no pod {namespace}/{name} in the lab {self.name}")

    def with_pods(self, *pods: LabPod) -> Topology:
        return replace(self, pods=self.pods + pods)

    # The names of the network namespaces

    @property
    def prefix(self) -> str:
        """What the name of every namespace of this lab begins with, and of no other lab's."""
        return prefix(self.name)

    @property
    def router(self) -> str:
        return f"{self.prefix}router"

    @property
    def outside(self) -> str:
        return f"{self.prefix}outside"

    def node_namespace(self, name: str) -> str:
        return f"{self.prefix}{self.node(name).name}"

    def pod_namespace(self, pod: LabPod) -> str:
        name = self.prefix + (f"{pod.namespace}.{pod.name}" if pod.namespace else pod.name)
        if len(name) <= _LONGEST_FILE_NAME:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return f"{name[: _LONGEST_FILE_NAME - 17]}.{digest}"

    def _check_pod(self, pod: LabPod) -> None:
        node = self.node(pod.node)
        if IPv4Address(pod.address) not in IPv4Network(node.pod_cidr):
            raise LabError(f"pod {pod.key}: {pod.address} is not in {node.pod_cidr}, the pod network of {node.name}")


def cluster(name: str = "lab", nodes: int = 3, pods: Iterable[tuple[str, str]] = ()) -> Topology:
    """A lab of ``nodes`` nodes called ``node-1`` …, one zone after the other, with ``pods`` given as (name, node).

    Each pod gets the next free address of its node. Raises `LabError` for an unusable name or number.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise LabError(f"a lab has between 1 and {MOST_NODES} nodes, not {nodes}")
    made = Topology(
        name,
        tuple(
            LabNode(f"node-{i}", str(FABRIC[i]), f"10.244.{i}.0/24", ZONES[(i - 1) % len(ZONES)])
            for i in range(1, nodes + 1)
        ),
    )
    free = {node.name: iter(node.pod_addresses) for node in made.nodes}
    return made.with_pods(*(LabPod(pod, node, next(free[made.node(node).name])) for pod, node in pods))


def ipv6(address: str) -> str:
    """The IPv6 address that goes with an IPv4 address: ``fd00:10:244:1::3`` with ``10.244.1.3``."""
    *network, host = address.split(".")
    return str(IPv6Address(f"fd00:{':'.join(network)}::{host}"))


def ipv6_network(network: str | IPv4Network) -> str:
    """The IPv6 network that goes with an IPv4 network of 8, 16 or 24 bits: ``fd00:10:244:1::/64`` with
    ``10.244.1.0/24``.
    """
    there = IPv4Network(network)
    return f"{ipv6(str(there.network_address))}/{there.prefixlen * 2 + 16}"


def prefix(name: str) -> str:
    """What the names of a lab's network namespaces begin with."""
    return f"fw-{name}."


def check_name(name: str) -> None:
    """Raises `LabError` unless the name can be part of a namespace's name and of a path."""
    if not _LAB_NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot be the name of a lab: use at most 32 lower-case letters, digits and '-', "
            "beginning and ending with a letter or a digit"
        )


def _check_node(node: LabNode) -> None:
    if not _NODE_NAME.fullmatch(node.name) or node.name in _NOT_NODES or node.name.startswith(CLIENT):
        raise LabError(f"{node.name!r} cannot be the name of a node")
    if IPv4Address(node.address) not in FABRIC or node.address == ROUTER_ADDRESS:
        raise LabError(f"node {node.name}: its address must be in {FABRIC} and not the router's, not {node.address}")
    if not IPv4Network(node.pod_cidr).subnet_of(POD_NETWORK):
        raise LabError(f"node {node.name}: its pod network must be part of {POD_NETWORK}, not {node.pod_cidr}")


def _check_unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise LabError(f"two of the lab have the same {what}: {value}")
        seen.add(value)
