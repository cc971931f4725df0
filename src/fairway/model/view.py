"""What a node should do: every frontend, its pools, and what happens to each kind of client.

    Frontend 10.96.0.7:80/TCP ──┬─ pod      forward to cluster pool
      Service shop/cart         ├─ node     forward to cluster pool, masquerade
      spec.ports[0]             └─ outside  forward to cluster pool, masquerade
        cluster pool  10.244.1.4:8080, 10.244.2.9:8080
        local pool    10.244.1.4:8080

Every traffic policy of Kubernetes has become one row of such a table when `resolve` is done; a mode only translates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, dataclass_transform

import msgspec

from fairway.model.address import IPv4, family_of, is_loopback
from fairway.objects.endpointslice import ObjectReference
from fairway.objects.meta import Key
from fairway.objects.printing import one_line

__all__ = [
    "Action",
    "ActionKind",
    "Backend",
    "Client",
    "Frontend",
    "FrontendKey",
    "FrontendKind",
    "Key",
    "NodeSettings",
    "NodeView",
    "ObjectReference",
    "Origin",
    "Pool",
    "Relaying",
    "Struct",
    "one_line",
]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of the model's values: immutable, comparable, hashable, small."""


class Origin(Struct):
    """The object field that caused a rule."""

    kind: str
    key: Key
    field: str = ""

    def __str__(self) -> str:
        """One line, whatever the names hold: programs are printed with it, and what is printed may be loaded again."""
        return one_line(f"{self.kind} {self.key} {self.field}".rstrip())


class Client(StrEnum):
    """Where a packet comes from, as this node sees it."""

    POD = "pod"  # an address of the cluster's pod networks
    NODE = "node"  # this node's own processes
    OUTSIDE = "outside"  # everything else


RANDOM, HASH = "random", "hash"
"""Each connection draws a backend; or the client's address decides, on all nodes alike."""
ROUND_ROBIN, LEAST_CONNECTIONS = "round-robin", "least-connections"
"""The backends take turns; or who has the fewest connections for its weight is next. Only a relay knows."""
BALANCINGS = (RANDOM, HASH, ROUND_ROBIN, LEAST_CONNECTIONS)


class Pool(StrEnum):
    """Which backends a client may get: any of the cluster, or only those on this node."""

    CLUSTER = "cluster"
    LOCAL = "local"


class ActionKind(StrEnum):
    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    ANSWER = "answer"  # a ping


class Action(Struct):
    """What happens to one kind of client; ``because`` names the field or fact that decided it."""

    kind: ActionKind
    pool: Pool = Pool.CLUSTER
    masquerade: bool = False
    because: str = ""


class Backend(Struct):
    """An endpoint that can answer.

    ``node`` is empty when the EndpointSlice does not say where it runs; ``local`` is true only when it says *here*.
    ``behind`` is what the EndpointSlice names as its target, most often a Pod. ``weight`` is how many parts of the
    pool's connections it gets, of as many as all weights of the pool together.
    """

    address: str
    port: int
    node: str = ""
    local: bool = False
    slice: str = ""
    behind: ObjectReference | None = None
    weight: int = 1

    @property
    def target(self) -> str:
        """``Pod shop/web-1``; what is no object has only a kind."""
        one = self.behind
        if one is None:
            return ""
        return f"{one.kind} {one.namespace}/{one.name}" if one.name else one.kind

    @property
    def may_be_here(self) -> bool:
        """Whether a packet that this node rewrites to it may come from it, so that hairpin must be provided for."""
        return self.local or not self.node

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class FrontendKind(StrEnum):
    CLUSTER_IP = "cluster IP"
    NODE_PORT = "node port"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER = "load balancer"
    OTHER_PORTS = "other ports"  # whatever port of a cluster IP no Service port has: refused; and its pings
    PING = "ping"  # of a load balancer's address, where the node answers them


class FrontendKey(NamedTuple):
    """What clients connect to. A node port has the family's *any* address (``0.0.0.0``, ``::``).

    The key of `FrontendKind.OTHER_PORTS` has no protocol and port 0; that of `FrontendKind.PING` has ICMP and port 0.
    """

    address: str
    protocol: str
    port: int

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        if not self.port:
            return f"{where} ({'ping' if self.protocol else 'other ports'})"
        return f"{where}:{self.port}/{self.protocol}"


class Relaying(Struct):
    """What a relay between the clients of a Service port and its backends does beyond passing bytes on.

    ``tls`` is the Secret that TLS ends with, ``proxy_protocol`` the version that backends are told the client by. The
    limits are of a Service on one node, or of one client of it there: connections at one time, and new ones a second;
    0 means none. ``idle`` and ``half_closed`` are the seconds after which a silent connection ends; 0 means the relay's
    own, see `fairway.relay.streams`.
    """

    access_log: bool = False
    tls: Key | None = None
    proxy_protocol: int = 0
    most: int = 0
    most_per_client: int = 0
    rate: float = 0.0
    rate_per_client: float = 0.0
    idle: int = 0
    half_closed: int = 0


class Frontend(Struct, kw_only=True):
    """One address, protocol and port of one Service, with everything that is to happen to its clients.

    Pools are sorted by EndpointSlice, then by address as text and by port, and hold no duplicates.
    ``affinity_seconds`` is 0 without session affinity. ``source_ranges`` is empty when everybody may connect.
    ``balancing`` is what the user wrote: `RANDOM`, `HASH`, `ROUND_ROBIN`, `LEAST_CONNECTIONS`, or a word that means
    nothing, which counts as none. ``scheduler`` is the IPVS scheduler that the user asked for, or empty. ``relaying``
    is None where the kernel alone may bring packets to the backends. ``cuts_connections`` says that connections to a
    backend that has gone are to end at once, not when their two ends notice. ``health_check_port`` is where this node
    tells load balancers whether it has backends of its own, said once a Service port, by its cluster IP; 0 for none.
    """

    kind: FrontendKind
    address: str
    protocol: str
    port: int
    service: Key
    port_name: str = ""
    field: str = ""
    cluster: Sequence[Backend] = ()
    local: Sequence[Backend] = ()
    pod: Action
    node: Action
    outside: Action
    affinity_seconds: int = 0
    balancing: str = RANDOM
    scheduler: str = ""
    relaying: Relaying | None = None
    source_ranges: tuple[str, ...] = ()
    health_check_port: int = 0
    cuts_connections: bool = False

    @property
    def forgets(self) -> bool:
        """Whether flows to a backend that it has no more are to be forgotten: UDP has no other end. A relay looks after
        its connections itself, but not after flows from before it was there."""
        return self.protocol == "UDP" or (self.cuts_connections and self.relaying is None)

    @property
    def key(self) -> FrontendKey:
        return FrontendKey(self.address, self.protocol, self.port)

    @property
    def family(self) -> str:
        return family_of(self.address)

    @property
    def origin(self) -> Origin:
        return Origin(kind="Service", key=self.service, field=self.field)

    @property
    def service_port(self) -> str:
        """``shop/cart:http``, or ``shop/cart`` when the port has no name, as the reference prints it."""
        return f"{self.service}:{self.port_name}" if self.port_name else str(self.service)

    def action(self, client: Client) -> Action:
        match client:
            case Client.POD:
                return self.pod
            case Client.NODE:
                return self.node
            case Client.OUTSIDE:
                return self.outside

    def pool(self, pool: Pool) -> Sequence[Backend]:
        return self.cluster if pool is Pool.CLUSTER else self.local

    def origin_of(self, backend: Backend) -> Origin:
        """The EndpointSlice that brought a backend, and the pod it names."""
        target = f"endpoints ({backend.target})" if backend.target else f"endpoints ({backend.address})"
        return Origin(kind="EndpointSlice", key=Key(self.service.namespace, backend.slice), field=target)


class NodeSettings(Struct):
    """What a node is and how it is configured, as far as the path of a packet depends on it.

    ``addresses`` are all addresses of the node's interfaces, loopback included. ``pod_networks`` tells pods from other
    clients, or ``pod_interface`` does, from which pods' packets come in: a bridge's name, or what the names begin with
    and ``*`` (the reference's ``detectLocalMode``); with neither for a family, nobody counts as a pod there.
    ``node_port_addresses`` are the addresses that take node ports, None means all; loopback addresses take them only
    with ``localhost_node_ports``, and only those of IPv4. ``answers_ping`` are this node's own addresses, one a family
    at most, that answer a ping of a Service's address; without one of its family nobody answers. Without
    ``external_ips`` nothing listens on those of Services (the reference's gate AllowServiceExternalIPs, KEP-5707).
    ``count_connections`` has the kernel count each frontend's connections, where the mode can. With
    ``relays`` every Service is relayed, TCP and UDP, not only those that ask for it.
    ``cut_connections`` is about Services that do not say themselves what becomes of connections to a backend that left.
    """

    name: str
    zone: str = ""
    addresses: tuple[str, ...] = ()
    pod_networks: tuple[str, ...] = ()
    pod_interface: str = ""
    service_networks: tuple[str, ...] = ()
    node_port_addresses: tuple[str, ...] | None = None
    localhost_node_ports: bool = False
    answers_ping: tuple[str, ...] = ()
    external_ips: bool = True
    count_connections: bool = False
    masquerade_all: bool = False
    relays: bool = False
    cut_connections: bool = False

    def takes_node_ports(self, address: str) -> bool:
        taken = self.addresses if self.node_port_addresses is None else self.node_port_addresses
        if address not in taken:
            return False
        # The kernel routes packets from 127.0.0.1 to other machines if it is told to; from ::1 it never does.
        return not is_loopback(address) or (self.localhost_node_ports and family_of(address) == IPv4)

    def answers_pings(self, family: str) -> bool:
        """Whether this node answers a ping of a Service's address."""
        return family in map(family_of, self.answers_ping)

    def is_pods_interface(self, name: str) -> bool:
        """Whether what comes in by this interface comes from pods."""
        wanted = self.pod_interface
        return wanted != "" and (name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted)

    def detects_pods(self, family: str) -> bool:
        """Whether pods can be told from other clients at all in this family."""
        return self.pod_interface != "" or family in map(family_of, self.pod_networks)


class NodeView(Struct):
    """Everything one node should do. When two Services claim one frontend, the first by namespace and name has it."""

    settings: NodeSettings
    frontends: dict[FrontendKey, Frontend]
