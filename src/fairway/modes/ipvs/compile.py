"""A frontend's table of actions, translated into virtual servers, real servers, entries of ipsets and addresses.

A virtual server has one pool, whoever asks it. Where a traffic policy is about others than pods and the node itself,
the frontend's virtual server has the pool of others, and a second one, found by a mark, that of pods and the node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairway.model.address import is_loopback
from fairway.model.view import (
    HASH,
    RANDOM,
    Action,
    ActionKind,
    Backend,
    Client,
    Frontend,
    FrontendKind,
    NodeSettings,
    Pool,
)
from fairway.modes.ipvs.marks import choose
from fairway.modes.ipvs.parts import (
    HASH_PORT,
    PERSISTENT,
    SCHEDULERS,
    Bound,
    Entry,
    Marked,
    Part,
    Real,
    Scheduling,
    Value,
    Virtual,
    family_word,
    set_name,
)
from fairway.modes.ipvs.program import Fragment
from fairway.modes.ipvs.rules import Options

_SCHEDULER = "fairway.dev/ipvs-scheduler"
_BALANCING = "fairway.dev/balancing"
_INSTEAD = "it stays as it was, or is the node's own (--ipvs-scheduler)"
_WEIGHTED = {"rr": "wrr", "lc": "wlc"}
_OURS = (FrontendKind.OTHER_PORTS, FrontendKind.PING)


def compile_frontend(frontend: Frontend, settings: NodeSettings, options: Options) -> Fragment:
    """One frontend's share of the Program."""
    mark = 0
    if inner_pool(frontend) is not None:
        mark = choose(frontend.key, options.masquerade_bit, lambda _: True)
    made = _Compile(frontend, settings, options, mark)
    parts = dict(made.parts()) if family_word(frontend.address) in options.families else {}
    return Fragment(frontend, parts, mark, stands_in=bool(frontend.scheduler) and not made.asked)


def unsupported(frontend: Frontend, options: Options) -> list[str]:
    """What the frontend asks for and this mode does otherwise, as sentences for the user."""
    found = []
    if frontend.scheduler and frontend.scheduler not in SCHEDULERS:
        shown = repr(frontend.scheduler[:63])
        found.append(f"{_SCHEDULER} must be one of {', '.join(SCHEDULERS)}, not {shown}; {_INSTEAD}")
    elif frontend.scheduler and not options.has_scheduler(frontend.scheduler):
        module = f"ip_vs_{frontend.scheduler}"
        found.append(
            f"{_SCHEDULER}: this node's kernel has no {frontend.scheduler}: the module is {module}; {_INSTEAD}"
        )
    if frontend.balancing == HASH:
        found.append(f"{_BALANCING} is done by the scheduler mh: its choice is not that of other modes")
    elif frontend.balancing != RANDOM:
        found.append(f"{_BALANCING} must be {RANDOM} or {HASH}, not {frontend.balancing[:63]!r}; it is {RANDOM}")
    if frontend.affinity_seconds and inner_pool(frontend) is not None:
        found.append(
            f"{frontend.field}: pods and the node itself are kept to a backend by the scheduler mh: IPVS cannot "
            "remember clients and translate ports for packets with a mark"
        )
    return [f"Service {frontend.service}: {one}" for one in found]


def inner_pool(frontend: Frontend) -> Sequence[Backend] | None:
    """The backends of pods and of the node itself, where they are to have other ones than clients from outside.

    By what the policy names, not by who is in it: connections would break when a frontend got its mark, or lost it.
    """
    inner = [_forwards_to(frontend.action(client)) for client in (Client.POD, Client.NODE)]
    outer = _forwards_to(frontend.outside)
    if Pool.CLUSTER in inner and outer is not Pool.CLUSTER:
        return frontend.cluster
    return None


def outer_pool(frontend: Frontend) -> Sequence[Backend]:
    """The backends of the frontend's own virtual server; those of pods and the node, too, where others have none."""
    for client in (Client.OUTSIDE, Client.POD, Client.NODE):
        if pool := _forwards_to(frontend.action(client)):
            return frontend.pool(pool)
    return ()


def _forwards_to(action: Action) -> Pool | None:
    return action.pool if action.kind is ActionKind.FORWARD else None


@dataclass(frozen=True)
class _Compile:
    frontend: Frontend
    settings: NodeSettings
    options: Options
    mark: int

    def parts(self) -> Iterator[tuple[Part, Value]]:
        frontend = self.frontend
        if frontend.kind in _OURS:
            if self.settings.answers_pings(frontend.family):
                yield self.entry("PING", frontend.address), None
            if frontend.kind is FrontendKind.OTHER_PORTS:
                yield from self._bound()
            return
        pool = outer_pool(frontend)
        scheduling = self.scheduling(pool, frontend.affinity_seconds)
        for address in self.addresses():
            virtual = Virtual(frontend.protocol, address, frontend.port)
            yield virtual, scheduling
            for backend in pool:
                yield Real(virtual, backend.address, backend.port), backend.weight
        yield from self._hairpins(pool)
        if (inner := inner_pool(frontend)) is not None:
            yield from self._marked(inner)
        yield from self._entries()
        yield from self._drops()
        if frontend.kind is not FrontendKind.NODE_PORT:
            yield from self._bound()
        if frontend.health_check_port:
            yield self.entry("HEALTH-CHECK-NODE-PORT", str(frontend.health_check_port)), None

    def _hairpins(self, pool: Sequence[Backend]) -> Iterator[tuple[Part, Value]]:
        for backend in pool:
            if backend.may_be_here:
                there = f"{backend.address},{self.frontend.protocol.lower()}:{backend.port}"
                yield self.entry("LOOP-BACK", f"{there},{backend.address}"), None

    def _marked(self, pool: Sequence[Backend]) -> Iterator[tuple[Part, Value]]:
        """The virtual server of pods and of the node itself, and what leads them there."""
        virtual = Marked(family_word(self.frontend.address), self.mark)
        # Persistence of a marked virtual server leaves the port as it is; mh keeps a client where it is without it.
        by_hash = self.frontend.affinity_seconds and self.options.has_scheduler("mh")
        yield virtual, Scheduling("mh") if by_hash else self.scheduling(pool, 0)
        for backend in pool:
            yield Real(virtual, backend.address, backend.port), backend.weight
        yield from self._hairpins(pool)
        for address in self.addresses():
            yield self.entry("POOL", self._service(address)), self.mark

    def addresses(self) -> tuple[str, ...]:
        """Where its virtual servers are: its own address; a node port has one on each address of the node."""
        frontend = self.frontend
        if frontend.kind is not FrontendKind.NODE_PORT:
            return (frontend.address,)
        mine = (one for one in self.settings.addresses if family_word(one) == family_word(frontend.address))
        # Never 127.0.0.1: IPVS does not rewrite what comes from it (reference, section 1.G).
        return tuple(
            one
            for one in mine
            if self.settings.takes_node_ports(one) and not is_loopback(one) and not one.startswith("fe80:")
        )

    @property
    def asked(self) -> str:
        """The scheduler that the Service asks for, if there is such a one here."""
        name = self.frontend.scheduler
        return name if name in SCHEDULERS and self.options.has_scheduler(name) else ""

    def scheduling(self, pool: Sequence[Backend], seconds: int) -> Scheduling:
        frontend, able = self.frontend, self.options.has_scheduler
        scheduler = self.asked or ("mh" if frontend.balancing == HASH and able("mh") else self.options.scheduler)
        weighted = _WEIGHTED.get(scheduler, "") if not self.asked and len({one.weight for one in pool}) > 1 else ""
        if weighted and able(weighted):
            scheduler = weighted
        flags = PERSISTENT if seconds else 0
        if scheduler == "mh" and frontend.balancing != HASH:
            flags |= HASH_PORT
        return Scheduling(scheduler, seconds, flags)

    def entry(self, name: str, text: str) -> Entry:
        return Entry(set_name(name, family_word(self.frontend.address)), text)

    def _bound(self) -> Iterator[tuple[Part, Value]]:
        """The address on the dummy device, unless another device of the node has it."""
        address = self.frontend.address
        if address not in self.settings.addresses:
            yield Bound(address), None
            yield self.entry("IPVS-IPS", address), None

    def _entries(self) -> Iterator[tuple[Part, Value]]:
        frontend = self.frontend
        local = Pool.LOCAL in (one.pool for one in self._forwards()) or frontend.outside.kind is ActionKind.DROP
        match frontend.kind:
            case FrontendKind.CLUSTER_IP:
                names = ["CLUSTER-IP"]
            case FrontendKind.EXTERNAL_IP:
                names = ["EXTERNAL-IP-LOCAL" if local else "EXTERNAL-IP"]
            case FrontendKind.LOAD_BALANCER:
                names = ["LOAD-BALANCER", *(["LOAD-BALANCER-LOCAL"] if local else ())]
                yield from self._source_ranges()
            case _:
                yield from self._node_port(local)
                return
        for name in names:
            yield self.entry(name, self._service(frontend.address)), None

    def _forwards(self) -> Iterator[Action]:
        actions = (self.frontend.action(client) for client in Client)
        return (one for one in actions if one.kind is ActionKind.FORWARD)

    def _service(self, address: str) -> str:
        return f"{address},{self.frontend.protocol.lower()}:{self.frontend.port}"

    def _node_port(self, local: bool) -> Iterator[tuple[Part, Value]]:
        protocol = self.frontend.protocol
        names = [f"NODE-PORT-{protocol}", *([f"NODE-PORT-LOCAL-{protocol}"] if local else ())]
        for name in names:
            if protocol != "SCTP":
                yield self.entry(name, str(self.frontend.port)), None
                continue
            for address in self.addresses():
                yield self.entry(f"{name}-HASH", self._service(address)), None

    def _source_ranges(self) -> Iterator[tuple[Part, Value]]:
        frontend = self.frontend
        service = self._service(frontend.address)
        if frontend.source_ranges:
            yield self.entry("LOAD-BALANCER-FW", service), None
        for network in frontend.source_ranges:
            address, _, length = network.partition("/")
            if address == frontend.address:
                yield self.entry("LOAD-BALANCER-SOURCE-IP", f"{service},{address}"), None
                continue
            shown = address if length in ("32", "128") else network
            yield self.entry("LOAD-BALANCER-SOURCE-CIDR", f"{service},{shown}"), None

    def _drops(self) -> Iterator[tuple[Part, Value]]:
        """Clients whose pool is empty while others have backends hear nothing, as in the other modes."""
        dropped = {client for client in Client if self.frontend.action(client).kind is ActionKind.DROP}
        if not dropped:
            return
        name = "DROP" if len(dropped) == len(Client) else "DROP-OUTSIDE"
        for address in self.addresses():
            yield self.entry(name, self._service(address)), None
