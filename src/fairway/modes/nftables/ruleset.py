"""The constant part: every chain, set and rule. Services and backends are elements; they never add a rule.

    prerouting, output ──▶ services ──▶ dispatch ──vmap──▶ balance-3 ──▶ deliver: dnat to the slot that was drawn
                              │            │
                              │            ├─▶ affinity-60 ──▶ … ──▶ deliver-sticky (see `structure`)
                              │            ├─▶ by-source: allowed? ──▶ by-client ──▶ client-pod | client-node | …
                              │            └─▶ refuse, drop
                              └─ for no frontend: node ports, pings, other ports of a cluster IP, unused cluster IPs

    postrouting ──▶ masquerading ──▶ masquerade-pod | masquerade-node | masquerade-outside

Only the first packet of a connection comes here: what follows is conntrack's. A balancing chain is added when the
first frontend with that number of backends appears. That is the only change of structure there is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache

from fairway.model.address import of_family
from fairway.model.hashing import SEED
from fairway.model.view import Client, NodeSettings
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.expressions import Expression, Jump, Lookup, Verdict
from fairway.modes.nftables.networks import SOURCE_LENGTHS, spans
from fairway.modes.nftables.sets import sets_of
from fairway.modes.nftables.tables import (
    ADDRESS_BYTES,
    Chain,
    Element,
    Family,
    Hook,
    Rule,
    Table,
    address_bytes,
)

REFUSE = 0
"""What `frontends` says for no backends: there is none to choose from, so the connection is refused."""
HASHED = 500_000
"""Added to the size of a table of which the client's address picks a place: nothing is drawn."""
LOCAL = 1_000_000
"""Added to the number of backends when they are those on this node; also the number of their first slot."""
THROW_AWAY = 2_000_000
BY_CLIENT = 3_000_000
"""The kinds of clients do not all get the same: see `frontends-pod`, `frontends-node` and `frontends-outside`."""
BY_SOURCE = 4_000_000
"""Only clients in `source-ranges` may connect; they go on as `BY_CLIENT` says."""

AFFINITY = 5_000_000
"""Added to the seconds after which a backend that a client had is forgotten."""
AFFINITY_LOCAL, AFFINITY_NODE_PORT = 100_000, 200_000
"""Added to that when the backends are those on this node; when the frontend is a node port."""
DRAW = 7_000_000
"""Added to a number of backends, for the chain that draws one and lets the caller deliver. No frontend says it."""

ACTIONS = ("actions", "client-actions")
_DNAT, _SNAT = -100, 100
_MODEL_FAMILY = {"ip": "IPv4", "ip6": "IPv6"}


def base(settings: NodeSettings) -> dict[Family, Table]:
    """Both families' tables for a node that has no frontend."""
    families: tuple[Family, ...] = ("ip", "ip6")
    return {family: _table(family, settings) for family in families}


@lru_cache(maxsize=16384)
def number_bytes(number: int) -> bytes:
    """A number as numgen makes them: in the machine's own byte order."""
    return number.to_bytes(4, sys.byteorder)


def pool_suffix(local: bool) -> str:
    """What the names of chains and sets end with that are about the backends on this node only."""
    return "-local" if local else ""


def node_port_suffix(node_port: bool) -> str:
    """What names of chains end with whose frontends are on any address."""
    return "-node-port" if node_port else ""


def _table(family: Family, settings: NodeSettings) -> Table:
    chains = _Chains(Words(family), settings).all()
    sets = sets_of(family, settings.count_connections)
    elements: dict[str, dict[bytes, Element]] = {one.name: {} for one in sets}
    for element in (*_constant_elements(), *_settings_elements(family, settings)):
        elements[element.set][element.key] = element
    return Table(family, {one.name: one for one in chains}, {one.name: one for one in sets}, elements)


def _constant_elements() -> Iterable[Element]:
    for name in ACTIONS:
        yield Element(name, number_bytes(REFUSE), Jump(e.GOTO, "refuse"))
        yield Element(name, number_bytes(THROW_AWAY), Jump(e.DROP))
    yield Element("actions", number_bytes(BY_CLIENT), Jump(e.GOTO, "by-client"))
    yield Element("actions", number_bytes(BY_SOURCE), Jump(e.GOTO, "by-source"))


def _settings_elements(family: Family, settings: NodeSettings) -> Iterable[Element]:
    model = _MODEL_FAMILY[family]
    yield from _intervals("pod-networks", of_family(settings.pod_networks, model))
    yield from _intervals("service-networks", of_family(settings.service_networks, model))
    for address in of_family(settings.addresses, model):
        yield Element("node-addresses", address_bytes(address))
    for address in of_family(node_port_addresses(settings), model):
        yield Element("node-port-addresses", address_bytes(address))


def node_port_addresses(settings: NodeSettings) -> tuple[str, ...]:
    """The addresses that take node ports, written out."""
    may = settings.addresses if settings.node_port_addresses is None else settings.node_port_addresses
    return tuple(address for address in may if settings.takes_node_ports(address))


def _intervals(name: str, networks: tuple[str, ...]) -> Iterable[Element]:
    for first, after, size in spans(networks):
        end = b"" if after == 1 << size * 8 else after.to_bytes(size, "big")
        yield Element(name, first.to_bytes(size, "big") + end)


class Words:
    """The keys of one family: expressions that load them into registers from 0 on."""

    def __init__(self, family: Family) -> None:
        size = ADDRESS_BYTES[family]
        self.family = family
        self.size = size
        self.address_end = size // 4
        self.frontend_end = self.address_end + 2
        self.lengths = range(SOURCE_LENGTHS, size * 8 + 1, SOURCE_LENGTHS)
        """Those of networks in `source-ranges`."""
        self.saddr, self.daddr = (12, 16) if family == "ip" else (8, 24)

    def source(self, into: int = 0) -> Expression:
        return e.Payload(e.NETWORK, self.saddr, self.size, into)

    def destination(self, into: int = 0) -> Expression:
        return e.Payload(e.NETWORK, self.daddr, self.size, into)

    def draw(self, modulus: int, first: int) -> tuple[Expression, ...]:
        """A slot's number behind a frontend: drawn, or with `HASHED` in the modulus what the client's address gives."""
        if modulus < HASHED:
            return (e.Random(modulus, first, self.frontend_end),)
        spare = 12  # the last registers; no key is that long
        places = e.Hash(spare, self.size, modulus - HASHED, SEED, first, self.frontend_end)
        return self.source(spare), places

    def network(self, length: int) -> tuple[Expression, ...]:
        """Behind a frontend: the first and the last address of the network of that length that the source is in."""
        first, last = self.frontend_end, self.frontend_end + self.address_end
        host = (1 << self.size * 8 - length) - 1
        if not host:
            return self.source(first), self.source(last)
        rest = host.to_bytes(self.size, "big")
        mask = bytes(255 ^ one for one in rest)
        return (
            *(self.source(first), e.Bitwise(first, first, mask, bytes(self.size))),
            *(self.source(last), e.Bitwise(last, last, mask, rest)),
        )

    def original_destination(self) -> Expression:
        return e.Conntrack(e.CT_DST_IP if self.family == "ip" else e.CT_DST_IP6, 0, original=True)

    def any_address(self) -> Expression:
        """Whatever address is in register 0 becomes the any address, which is that of node ports."""
        return e.Bitwise(0, 0, bytes(self.size), bytes(self.size))

    def port(self) -> tuple[Expression, ...]:
        return e.Meta(e.META_L4PROTO, self.address_end), e.Payload(e.TRANSPORT, 2, 2, self.address_end + 1)

    def original_port(self) -> tuple[Expression, ...]:
        return e.Meta(e.META_L4PROTO, self.address_end), e.Conntrack(e.CT_PROTO_DST, self.address_end + 1, True)

    def frontend(self) -> tuple[Expression, ...]:
        return self.destination(), *self.port()

    def node_port(self) -> tuple[Expression, ...]:
        return self.destination(), self.any_address(), *self.port()

    def client(self, *, node_port: bool) -> tuple[Expression, ...]:
        """Who connects to what."""
        return *(self.node_port() if node_port else self.frontend()), self.source(self.frontend_end)

    def original_frontend(self) -> tuple[Expression, ...]:
        return self.original_destination(), *self.original_port()

    def original_node_port(self) -> tuple[Expression, ...]:
        return self.original_destination(), self.any_address(), *self.original_port()

    def deliver(self, backends: str) -> tuple[Expression, ...]:
        """Behind a frontend: rewrite to what a map has for it and the priority, and put the priority back."""
        spare = 8  # a register that the backend's address and port do not reach in either family
        return (
            e.Meta(e.META_PRIORITY, self.frontend_end),
            Lookup(backends, 0, 0),
            e.Constant(bytes(4), spare),
            e.SetMeta(e.META_PRIORITY, spare),
            e.Rewrite(0, self.address_end),
        )


class _Chains:
    """The chains of one family. Which there are depends on the node's settings, never on Services."""

    def __init__(self, words: Words, settings: NodeSettings) -> None:
        self.words = words
        self.pod_interface = settings.pod_interface
        self.answers_ping = next(iter(of_family(settings.answers_ping, _MODEL_FAMILY[words.family])), "")
        self.localhost = settings.localhost_node_ports and words.family == "ip"

    def all(self) -> Iterable[Chain]:
        to_services = (Rule((Verdict(Jump(e.JUMP, "services")),)),)
        yield Chain("prerouting", to_services, Hook("nat", "prerouting", _DNAT))
        yield Chain("output", to_services, Hook("nat", "output", _DNAT))
        yield self.services()
        yield dispatch("dispatch", "actions")
        yield self.by_source()
        yield self.allowed()
        yield self.by_client()
        yield from (self.client(client) for client in Client)
        yield dispatch("dispatch-client", "client-actions")
        yield self.deliver()
        yield from self.sticky()
        yield self.refuse()
        if self.answers_ping:
            yield self.ping()
        if self.localhost:
            yield self.guard()
        yield self.postrouting()
        yield self.masquerade()
        yield from (self.masquerade_client(client) for client in Client)

    def services(self) -> Chain:
        words = self.words
        refuse = Verdict(Jump(e.GOTO, "refuse"))
        ping = (Rule((*self.is_ping(), Verdict(Jump(e.JUMP, "ping")))),) if self.answers_ping else ()
        return Chain(
            "services",
            (
                Rule((*words.frontend(), *_number_from("frontends"))),
                Rule(
                    (
                        words.destination(),
                        Lookup("node-port-addresses", 0),
                        *words.node_port(),
                        *_number_from("frontends"),
                    )
                ),
                *ping,
                Rule((words.destination(), Lookup("cluster-ips", 0), refuse), "no such port"),
                Rule((words.destination(), Lookup("service-networks", 0), Verdict(Jump(e.DROP))), "no such Service"),
            ),
        )

    def is_ping(self) -> tuple[Expression, ...]:
        family = self.words.family
        protocol = e.Meta(e.META_L4PROTO, 0), e.Compare(0, bytes((e.ICMP[family],)))
        return *protocol, e.Payload(e.TRANSPORT, 0, 1, 0), e.Compare(0, bytes((e.ECHO_REQUEST[family],)))

    def ping(self) -> Chain:
        """An address of this node's own takes the ping; conntrack puts the Service's back into the answer."""
        here = (e.Constant(address_bytes(self.answers_ping), 0), e.Rewrite(0, None))
        sets = ("cluster-ips", "pinged")
        return Chain("ping", tuple(Rule((self.words.destination(), Lookup(one, 0), *here)) for one in sets))

    def guard(self) -> Chain:
        """Localhost's node ports need route_localnet, with which others could reach what listens on 127.0.0.1 only."""
        from_elsewhere = (e.Meta(e.META_IIFNAME, 0), e.Compare(0, e.interface_bytes("lo"), equal=False))
        to_loopback = (e.Payload(e.NETWORK, 16, 1, 0), e.Compare(0, b"\x7f"))
        rule = Rule((*from_elsewhere, *to_loopback, *self.was_rewritten(False), Verdict(Jump(e.DROP))))
        return Chain("guard-localhost", (rule,), Hook("filter", "input", 0))

    def deliver(self) -> Chain:
        """To the backend in the slot whose number is in the priority."""
        words = self.words
        told = "the priority is read before it is set"
        frontends = (words.frontend(), words.node_port())
        slots = (Rule((*one, *words.deliver("slots")), told) for one in frontends)
        return Chain("deliver", (*slots, come_again()))

    def sticky(self) -> Iterable[Chain]:
        """What session affinity needs of maps that grow with the cluster, whatever its seconds (see `structure`)."""
        words = self.words
        keys = words.frontend(), words.node_port()
        told = "the priority is read before it is set"
        for local in (False, True):
            pool = pool_suffix(local)
            counts = (Rule((*one, *_number_from(f"sticky-counts{pool}", "dispatch-draw"))) for one in keys)
            yield Chain(f"choose{pool}", tuple(counts))
            for node_port, key in enumerate(keys):
                rule = Rule((*key, *words.deliver(f"sticky-backends{pool}")), told)
                yield Chain(f"deliver-sticky{pool}{node_port_suffix(bool(node_port))}", (rule,))
        yield dispatch("dispatch-draw", "draws")
        drawn = (
            e.Meta(e.META_PRIORITY, words.frontend_end),
            Lookup("sticky-slots", 0, 0),
            e.SetMeta(e.META_PRIORITY, 0),
            Verdict(Jump(e.RETURN)),
        )
        yield Chain("identify", tuple(Rule((*one, *drawn)) for one in keys))

    def refuse(self) -> Chain:
        """TCP by a reset: ICMP errors are limited to one a second and peer, and to TCP over IPv6 only a hint."""
        tcp = (e.Meta(e.META_L4PROTO, 0), e.Compare(0, bytes((e.TCP,))), e.Reject(None))
        return Chain("refuse", (Rule(tcp), Rule((e.Reject(e.PORT_UNREACHABLE[self.words.family]),))))

    def by_source(self) -> Chain:
        return Chain(
            "by-source",
            (Rule((Verdict(Jump(e.JUMP, "allowed")),)), Rule((Verdict(Jump(e.GOTO, "by-client")),))),
        )

    def allowed(self) -> Chain:
        """Goes on for clients in one of the frontend's networks, which are looked for by each length that one can have.

        As data without an order (the kernel's own sets of ranges are copied as a whole for each change).
        """
        words = self.words
        return Chain("allowed", (*map(self.allowed_by, words.lengths), Rule((Verdict(Jump(e.DROP)),))))

    def allowed_by(self, length: int) -> Rule:
        words = self.words
        network = words.network(length)
        return Rule((*words.frontend(), *network, Lookup("source-ranges", 0), Verdict(Jump(e.RETURN))))

    def by_client(self) -> Chain:
        # No incoming interface: the node itself sends it, whatever its source address.
        node = Rule((e.Meta(e.META_IIF, 0), e.Compare(0, bytes(4)), Verdict(Jump(e.GOTO, "client-node"))))
        return Chain("by-client", (node, *self.split("client-", self.from_pods("client-"))))

    def from_pods(self, prefix: str) -> tuple[Rule, ...]:
        """Those that come in where pods are, when that is how pods are told."""
        if not self.pod_interface:
            return ()
        named = (e.Meta(e.META_IIFNAME, 0), e.Compare(0, e.interface_bytes(self.pod_interface)))
        return (Rule((*named, Verdict(Jump(e.GOTO, f"{prefix}pod")))),)

    def split(self, prefix: str, from_pods: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Which kind of client sent the packet, told by its source address, unless ``from_pods`` tells."""
        source = self.words.source()
        return (
            Rule((source, Lookup("node-addresses", 0), Verdict(Jump(e.GOTO, f"{prefix}node")))),
            *from_pods,
            Rule((source, Lookup("pod-networks", 0), Verdict(Jump(e.GOTO, f"{prefix}pod")))),
            Rule((Verdict(Jump(e.GOTO, f"{prefix}outside")),)),
        )

    def client(self, client: Client) -> Chain:
        take = _number_from(f"frontends-{client}", "dispatch-client")
        return Chain(
            f"client-{client}", (Rule((*self.words.frontend(), *take)), Rule((*self.words.node_port(), *take)))
        )

    def postrouting(self) -> Chain:
        """Asks conntrack instead of leaving a mark on the packet: marks are few and everybody wants them."""
        rule = Rule((*self.was_rewritten(), Verdict(Jump(e.JUMP, "masquerading"))))
        return Chain("postrouting", (rule,), Hook("nat", "postrouting", _SNAT))

    def was_rewritten(self, was: bool = True) -> tuple[Expression, ...]:
        dnat = e.STATUS_DNAT.to_bytes(4, sys.byteorder)
        return e.Conntrack(e.CT_STATUS, 0), e.Bitwise(0, 0, dnat, bytes(4)), e.Compare(0, bytes(4), equal=not was)

    def masquerade(self) -> Chain:
        words = self.words
        pair = (words.source(words.frontend_end), words.destination(words.frontend_end + words.address_end))
        back = self.masquerades("hairpin", pair)
        from_pods = self.from_pods("masquerade-")
        if from_pods:
            # From pod to pod over a bridge: br_netfilter gives no incoming interface to the postrouting hook. This
            # node's own packets have none either, but they have its address, which was asked for before.
            bridged = (e.Meta(e.META_IIF, 0), e.Compare(0, bytes(4)), Verdict(Jump(e.GOTO, "masquerade-pod")))
            from_pods += (Rule(bridged, "from pod to pod over a bridge"),)
        return Chain("masquerading", (*back, *self.split("masquerade-", from_pods)))

    def masquerade_client(self, client: Client) -> Chain:
        name = f"masquerade-{client}"
        return Chain(name, self.masquerades(name, ()))

    def masquerades(self, name: str, more: tuple[Expression, ...]) -> tuple[Rule, ...]:
        """Masquerade what was for a frontend of a set: as it was addressed, or by node port on a node's address."""
        words = self.words
        known = (*more, Lookup(name, 0), e.Masquerade(e.FULLY_RANDOM))
        by_node_port = (
            words.original_destination(),
            Lookup("node-port-addresses", 0),
            *words.original_frontend(),
            Lookup("node-address-frontends", 0, invert=True),
        )
        return (
            Rule((*words.original_frontend(), *known)),
            Rule((*by_node_port, *words.original_node_port(), *known)),
        )


def come_again() -> Rule:
    """For the first packet of a client that has found its frontend and its number, but nobody there.

    Every look-up of a packet asks what counts at that moment, and a commit may come between two of them. Who went on
    untranslated would stay so in conntrack, for all that it sends again; who is dropped is not there yet.
    """
    return Rule((Verdict(Jump(e.DROP)),), "changed meanwhile: the client asks again")


def dispatch(name: str, actions: str) -> Chain:
    return Chain(name, (Rule((e.Meta(e.META_PRIORITY, 0), Lookup(actions, 0, e.VERDICT))), come_again()))


def _number_from(name: str, dispatch: str = "dispatch") -> tuple[Expression, ...]:
    """Take a frontend's number from a map and let `actions` say what it means.

    nft 1.0.6 cannot list a number that stays in a register between two maps (it aborts), so the packet's priority
    carries it for the length of one rule; a balancing chain puts it back (docs/adr/0005).
    """
    return Lookup(name, 0, 0), e.SetMeta(e.META_PRIORITY, 0), Verdict(Jump(e.GOTO, dispatch))
