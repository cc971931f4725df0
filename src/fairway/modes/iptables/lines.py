"""What both forms of the rules have in common: a Service port's names, its chains of endpoints, a line's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairway.model.view import Action, ActionKind, Backend, Client, Frontend, FrontendKind, NodeSettings, Pool
from fairway.modes.iptables import names as n
from fairway.modes.iptables.names import endpoint_chain, family_of_frontend, service_hash
from fairway.modes.iptables.rules import comment, host, probability, recent
from fairway.modes.iptables.ruleset import Options
from fairway.modes.iptables.tree import Line, address_key, port_key
from fairway.modes.xtables import REJECTED

_POOL_CHAINS = {Pool.CLUSTER: "KUBE-SVC-", Pool.LOCAL: "KUBE-SVL-"}
_AFFINITY, _RANDOM = "1 ", "2 "


@dataclass
class Lines(ABC):
    """One frontend's lines; a form of the rules inherits it and says them in `lines`."""

    frontend: Frontend
    settings: NodeSettings
    options: Options
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        one = self.frontend
        self.family = family_of_frontend(one)
        self.hash = service_hash(one)
        self.protocol = one.protocol.lower()
        self.name = one.service_port
        self.actions = {client: one.action(client) for client in Client}

    @abstractmethod
    def lines(self) -> Iterator[Line]: ...

    @property
    def to_service(self) -> str:
        return f"-d {host(self.frontend.address, self.family)} "

    @property
    def port(self) -> str:
        """Which port, as the end of a match."""
        return f"-m {self.protocol} --dport {self.frontend.port}"

    @property
    def is_node_port(self) -> bool:
        return self.frontend.kind is FrontendKind.NODE_PORT

    def match(self, says: str, client: str = "") -> str:
        """Asks whether a packet is for this frontend; a node port's is asked where the address is known already.

        ``client`` asks for more: where it stands is the order in which `iptables-save` prints.
        """
        kind = client.removeprefix("! ")[:2]
        source, interface, module = (f"{client} " if kind == one else "" for one in ("-s", "-i", "-m"))
        address = "" if self.is_node_port else self.to_service
        return f"{source}{address}{interface}-p {self.protocol} {comment(says)} {module}{self.port}"

    def dispatched(self, table: str, chain: str, order: str, rule: str) -> Line:
        """A line where all frontends have one: found by address, or by port."""
        one = self.frontend
        key = port_key(one.protocol, one.port) if self.is_node_port else address_key(one.address)
        return Line(table, chain, key, order, rule)

    def pool_chain(self, pool: Pool) -> str:
        return _POOL_CHAINS[pool] + self.hash

    def forwards(self, action: Action) -> bool:
        return action.kind is ActionKind.FORWARD and len(self.frontend.pool(action.pool)) > 0

    def pools(self) -> list[Pool]:
        """Those that any client gets a backend of."""
        used = {one.pool for one in self.actions.values() if self.forwards(one)}
        return [pool for pool in Pool if pool in used]

    def endpoints(self, pool: Pool) -> Iterator[Line]:
        """The chain of a pool: who came back goes where it was, everybody else draws; and the backends' chains."""
        chain, affinity = self.pool_chain(pool), self.frontend.affinity_seconds
        backends = sorted(self.frontend.pool(pool), key=str)
        rest = sum(one.weight for one in backends)
        for backend in backends:
            sep, name = endpoint_chain(self.frontend, backend), str(backend)
            says = comment(f"{self.name} -> {name}")
            if affinity:
                kept = f"-m recent --rcheck --seconds {affinity} --reap {recent(self.family, sep)}"
                yield Line("nat", chain, 0, _AFFINITY + name, f"{says} {kept} -j {sep}")
            chance = f"-m statistic --mode random --probability {probability(backend.weight, rest)} "
            last = backend.weight == rest
            yield Line("nat", chain, 0, _RANDOM + name, f"{says} {'' if last else chance}-j {sep}")
            rest -= backend.weight
            yield from self._endpoint(sep, backend)

    def _endpoint(self, sep: str, backend: Backend) -> Iterator[Line]:
        if sep in self._seen:
            return  # it is in both pools
        self._seen.add(sep)
        says = comment(self.name)
        if self.hairpins(backend):
            yield Line("nat", sep, 0, "0", f"-s {host(backend.address, self.family)} {says} -j {n.MARK}")
        kept = f"-m recent --set {recent(self.family, sep)} " if self.frontend.affinity_seconds else ""
        to = f"-m {self.protocol} -j DNAT --to-destination {backend}"
        yield Line("nat", sep, 0, "1", f"-p {self.protocol} {says} {kept}{to}")

    @abstractmethod
    def hairpins(self, backend: Backend) -> bool:
        """Whether the backend's own connections to its Service must be masqueraded here."""

    def refusal(self, kind: ActionKind) -> str:
        return "-j DROP" if kind is ActionKind.DROP else f"-j REJECT --reject-with {REJECTED[self.family]}"

    def health_check(self) -> Iterator[Line]:
        """Lets the balancer ask for this node's health whatever other rules say."""
        port = self.frontend.health_check_port
        if port and self.frontend.kind is FrontendKind.CLUSTER_IP:
            says = comment(f"{self.name} health check node port")
            rule = f"-p tcp {says} -m tcp --dport {port} -j ACCEPT"
            yield Line("filter", n.NODE_PORTS, port_key("tcp", port), "0", rule)
