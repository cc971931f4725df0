"""A topology made real: one network namespace for each node, pod, router and client, joined by veth pairs.

Everything is owned by a ``with`` block, and everything has a name that begins with the lab's prefix, so that what a
killed process leaves can be found and removed by another (`fairway.lab.remains`).
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

from fairway.kernel import namespaces
from fairway.kernel.links import LinkError, Links, set_sysctls
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.errors import LabError
from fairway.lab.topology import (
    FABRIC,
    OUTSIDE,
    OUTSIDE_CLIENT,
    OUTSIDE_GATEWAY,
    ROUTER_ADDRESS,
    LabNode,
    LabPod,
    Topology,
    ipv6,
    ipv6_network,
)

BRIDGE = "cni0"
_SWITCH = "fabric"

# The kernel answers at most one unreachable destination per second and peer; a lab wants to see each refusal.
# Nobody has another's address: without looking for duplicates a link's own IPv6 address, which a router asks for its
# neighbours with, can be used at once and not after two seconds.
_QUIET = {"net.ipv4.icmp_ratelimit": "0", "net.ipv6.icmp.ratelimit": "0", "net.ipv6.conf.default.accept_dad": "0"}
_FORWARDING = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
}
# Without it the answer of a pod to a pod on the same node crosses the bridge without being translated back.
_BRIDGE_SEES_RULES = {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}
_BRIDGE_IS_PLAIN = {"net.bridge.bridge-nf-call-iptables": "0", "net.bridge.bridge-nf-call-ip6tables": "0"}


class Network:
    """The network of a lab, for as long as the ``with`` block; pods may come and go in between.

    Raises `LabError` on entry when the machine cannot carry a lab, and `FileExistsError` when the names are taken.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._pods = {pod.key: pod for pod in topology.pods}

    def __enter__(self) -> Network:
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def router(self) -> NetworkNamespace:
        return NetworkNamespace(self.topology.router)

    @property
    def outside(self) -> NetworkNamespace:
        """The client that is not part of the cluster."""
        return NetworkNamespace(self.topology.outside)

    @property
    def pods(self) -> tuple[LabPod, ...]:
        """The pods there are now."""
        return tuple(self._pods.values())

    def node(self, name: str) -> NetworkNamespace:
        return NetworkNamespace(self.topology.node_namespace(name))

    def pod(self, name: str, namespace: str = "default") -> NetworkNamespace:
        """The namespace of a pod that is there; raises `LabError`."""
        pod = self._pods.get(f"{namespace}/{name}")
        if pod is None:
            raise LabError(f"there is no pod {namespace}/{name} in the lab {self.topology.name}")
        return NetworkNamespace(self.topology.pod_namespace(pod))

    def place(self, name: str) -> NetworkNamespace:
        """Where somebody is: a node, a node's client (``client-node-1``), ``outside``, ``router``, or a pod
        as ``namespace/name`` or just ``name``.

        Looks at what is there now, whoever made it. Raises `LabError` for an unknown place, or when several pods
        have that name.
        """
        prefix = self.topology.prefix
        places = [found.removeprefix(prefix) for found in namespaces.names(prefix)]
        wanted = name.replace("/", ".", 1)
        if wanted in places:
            return NetworkNamespace(prefix + wanted)
        pods = [place for place in places if place.partition(".")[2] == name]
        if len(pods) == 1:
            return NetworkNamespace(prefix + pods[0])
        if pods:
            raise LabError(f"several pods are called {name}: " + ", ".join(pod.replace(".", "/", 1) for pod in pods))
        known = ", ".join(sorted(place.replace(".", "/", 1) for place in places)) or "nothing"
        raise LabError(f"there is no {name!r} in the lab {self.topology.name}; there is {known}")

    def build(self) -> None:
        """Make everything; what is there when it fails stays there, for `remove`."""
        topology = self.topology
        names = [topology.router, topology.outside, *(topology.node_namespace(node.name) for node in topology.nodes)]
        names += [topology.pod_namespace(pod) for pod in topology.everybody]
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(namespaces.create, names))
        self._build_router()
        for node in topology.nodes:
            self._build_node(node)
        for node in topology.nodes:
            self._wire_pods(node, [pod for pod in topology.everybody if pod.node == node.name])
        with Links(self.router) as links:
            for node in topology.nodes:
                links.wait_until_up(_cable(node))

    def remove(self) -> None:
        """Remove every namespace of the lab, whoever made it; the cables go with them."""
        for name in namespaces.names(self.topology.prefix):
            namespaces.delete(name)

    def add_pod(self, pod: LabPod) -> NetworkNamespace:
        """A namespace for one more pod, plugged into its node's bridge; a leftover of the same name makes way."""
        name = self.topology.pod_namespace(pod)
        self.remove_pod(pod)
        namespace = namespaces.create(name)
        try:
            self._wire_pods(self.topology.node(pod.node), [pod])
        except BaseException:
            namespaces.delete(name)
            raise
        self._pods[pod.key] = pod
        return namespace

    def remove_pod(self, pod: LabPod) -> None:
        """Unplug a pod and remove its namespace; nothing happens if there is none."""
        self._pods.pop(pod.key, None)
        if not namespaces.delete(self.topology.pod_namespace(pod)):
            return
        # The kernel frees a namespace when it finds the time; until then the cable would be in a new one's way.
        with Links(self.node(pod.node)) as links:
            try:
                links.delete(pod.link)
            except LinkError as error:
                if error.errno != errno.ENODEV:
                    raise

    def _build_router(self) -> None:
        """The router is also the switch between the nodes, and the way to the client outside."""
        set_sysctls({**_QUIET, **_FORWARDING, **_available(_BRIDGE_IS_PLAIN, self.router)}, self.router)
        set_sysctls(_QUIET, self.outside)
        with Links(self.router) as links:
            links.set_up("lo")
            links.add_bridge(_SWITCH, mac=mac(ROUTER_ADDRESS))
            self._add_address(links, _SWITCH, ROUTER_ADDRESS, FABRIC)
            links.set_up(_SWITCH)
            links.add_veth("outside", "eth0", self.outside)
            self._add_address(links, "outside", OUTSIDE_GATEWAY, OUTSIDE)
            links.set_up("outside")
            for node in self.topology.nodes:
                self.add_route(links, node.pod_cidr, node.address)
        with Links(self.outside) as links:
            links.set_up("lo")
            self._add_address(links, "eth0", OUTSIDE_CLIENT, OUTSIDE)
            links.set_up("eth0")
            self.add_route(links, "default", OUTSIDE_GATEWAY)

    def _build_node(self, node: LabNode) -> None:
        namespace = self.node(node.name)
        _require_bridge_rules(namespace)
        set_sysctls({**_QUIET, **_FORWARDING, **_BRIDGE_SEES_RULES}, namespace)
        cable = _cable(node)
        with Links(self.router) as links:
            links.add_veth(cable, "eth0", namespace)
            links.add_port(_SWITCH, cable)
            links.set_up(cable)
        with Links(namespace) as links:
            links.set_up("lo")
            self._add_address(links, "eth0", node.address, FABRIC)
            links.set_up("eth0")
            links.add_bridge(BRIDGE, mac=mac(node.gateway))
            self._add_address(links, BRIDGE, node.gateway, IPv4Network(node.pod_cidr))
            links.set_up(BRIDGE)
            # What a node itself sends to a ClusterIP is routed before it is translated: there must be some route.
            self.add_route(links, "default", ROUTER_ADDRESS)
            for other in self.topology.nodes:
                if other != node:
                    self.add_route(links, other.pod_cidr, other.address)

    def _wire_pods(self, node: LabNode, pods: Collection[LabPod]) -> None:
        network = IPv4Network(node.pod_cidr)
        with Links(self.node(node.name)) as on_node:
            for pod in pods:
                namespace = NetworkNamespace(self.topology.pod_namespace(pod))
                set_sysctls(_QUIET, namespace)
                on_node.add_veth(pod.link, "eth0", namespace, peer_mac=mac(pod.address))
                on_node.add_port(BRIDGE, pod.link, hairpin=True)
                on_node.set_up(pod.link)
                with Links(namespace) as links:
                    links.set_up("lo")
                    self._add_address(links, "eth0", pod.address, network)
                    links.set_up("eth0")
                    self.add_route(links, "default", node.gateway)
            for pod in pods:
                on_node.wait_until_up(pod.link)

    def add_route(self, links: Links, destination: str, gateway: str) -> None:
        """A route of one namespace (``destination``: an IPv4 network, or ``default``), in each family there is."""
        links.add_route(destination, via=gateway)
        if self.topology.dual_stack:
            network = destination if destination == "default" else ipv6_network(destination)
            links.add_route(network, via=ipv6(gateway))

    def _add_address(self, links: Links, name: str, address: str, network: IPv4Network) -> None:
        links.add_address(name, f"{address}/{network.prefixlen}")
        if self.topology.dual_stack:
            links.add_address(name, f"{ipv6(address)}/64")


def _cable(node: LabNode) -> str:
    """The router's end of a node's cable."""
    return f"to-{node.address}"


def mac(address: str) -> str:
    """The hardware address that goes with an IPv4 address, as the CNI bridge plugin makes it.

    Whoever knows the one knows the other: a pod that is made again at its old address is reached at once, where
    neighbours would otherwise send to a hardware address that is gone for as long as they remember it.
    """
    return "0a:58:" + IPv4Address(address).packed.hex(":")


def _require_bridge_rules(namespace: NetworkNamespace) -> None:
    if not _available(_BRIDGE_SEES_RULES, namespace):
        raise LabError(
            "this kernel's bridges do not show their packets to nftables (no net.bridge.bridge-nf-call-iptables), "
            "so pods on one node could not reach each other through a Service; try `modprobe br_netfilter`"
        )


def _available(settings: dict[str, str], namespace: NetworkNamespace) -> dict[str, str]:
    """The settings, or none of them when the kernel's part that has them is not loaded."""
    try:
        set_sysctls(settings, namespace)
    except FileNotFoundError:
        return {}
    return settings
