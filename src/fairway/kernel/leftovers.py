"""What proxies have left in this thread's network namespace, part by part; each part can be removed.

iptables (both variants) ─┐
nftables tables           ├──read──▶ Part: what, whose, of which mode ──remove──▶ gone, and nothing else
IPVS, ipsets, addresses  ─┘             ╰─ the addresses that its clients asked for ──▶ Flows
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fairway.kernel.conntrack import Conntrack, Flow, Match
from fairway.kernel.contract import Chains
from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import Ipvs, NoIpvs
from fairway.kernel.ipvs_drain import stand_in_no_more
from fairway.kernel.leftover_parts import OWNERS, Listed, Part, Rules, Table, saved
from fairway.kernel.links import LinkError, Links
from fairway.kernel.nfnetlink import KernelRefused
from fairway.kernel.nftables import Nftables
from fairway.kernel.sockets import holder
from fairway.kernel.xtables import VARIANTS, Tools, legacy_tables, open_tools
from fairway.modes.iptables.leftovers import (
    FAIRWAY,
    IPVS,
    KUBE_PROXY,
    Address,
    classify,
    parse,
    removal,
    without,
)
from fairway.modes.ipvs.parts import DEVICE, IpSet, Marked, Server, Virtual, sets
from fairway.modes.nftables.tables import TABLE, read_frontend
from fairway.modes.userspace.program import ADDRESSES
from fairway.modes.xtables import FAMILIES, TABLES

_IPVS = Path("/proc/thread-self/net/ip_vs")
_LOOPBACK = "lo"
_UNKNOWN = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
"""What a kernel without nf_tables says."""
_EITHER = (KUBE_PROXY, FAIRWAY)
_PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}


def read() -> list[Part]:
    """All that proxies have left, but for flows, in the order in which it can be removed.

    Raises `CommandFailed`, `KernelRefused` or `OSError` for what cannot be looked at.
    """
    return [*_rules(), *_tables(), *_ipvs(), *_relays()]


def remove_rules(tools: Tools, needed: Chains, tables: tuple[str, ...] = TABLES) -> None:
    """What proxies have in these tables of this variant goes, but for chains, and jumps to them, that are still needed.

    What refuses goes before what translates. Raises `CommandFailed`.
    """
    for family in tools.families:
        wanted = needed.get((tools.variant, family), {})
        found = {one.table: without(one, wanted) for one in classify(parse(saved(tools, family)))}
        plan = removal(family, (found[table] for table in tables if table in found))
        if text := plan.text(family, tools.chains_at_once):
            tools.restore(family, text)


def unseen() -> list[str]:
    """What this machine has no tools to look at; kube-proxy in a container brings its own."""
    found = []
    for variant in VARIANTS:
        asked = _has_nf_tables() if variant == "nft" else any(map(legacy_tables, FAMILIES))
        if asked and not shutil.which(f"iptables-{variant}-restore"):
            found.append(f"rules of iptables-{variant}: its tools are not here; the package iptables brings them")
    return found


def _rules() -> Iterator[Part]:
    for variant in VARIANTS:
        if variant == "nft" and not _has_nf_tables():
            continue
        if shutil.which(f"iptables-{variant}-restore"):
            tools = open_tools(variant)
            for family in tools.families:
                for one in classify(parse(saved(tools, family))):
                    yield Rules(tools, family, one)


def _has_nf_tables() -> bool:
    try:
        with Nftables() as nftables:
            nftables.generation()
    except KernelRefused as refused:
        if refused.code in _UNKNOWN:
            return False
        raise
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    return True


def _tables() -> Iterator[Part]:
    for name in OWNERS if _has_nf_tables() else ():
        with Nftables(name) as nftables:
            for family, standing in nftables.standings().items():
                asked = {_read_key(key) for one in _FRONTENDS[name] for key in nftables.keys(family, one)}
                whose = holder(standing.owner) if standing.owner else ""
                yield Table(family, name, frozenset(one for one in asked if one is not None), whose)


_FRONTENDS = {TABLE: ("frontends",), "kube-proxy": ("service-ips", "service-nodeports")}


def _read_key(key: bytes) -> Address | None:
    """Address, protocol and port, or without address; each part takes a multiple of four bytes."""
    if len(key) == 8:
        protocol = _PROTOCOLS.get(key[0])
        return Address("", protocol, int.from_bytes(key[4:6], "big")) if protocol else None
    found = read_frontend(key)
    return Address(found.address, found.protocol, found.port) if found is not None else None


def _ipvs() -> Iterator[Part]:
    with Links() as links:
        device = DEVICE in links.names()
        bound = [one for one in links.addresses(DEVICE) if not one.startswith("fe80:")] if device else []
        standing_in = tuple(sorted(links.local_routes()))
    try:
        with Ipset() as ipset:
            there = ipset.sets(known_sets())
    except KernelRefused as refused:
        if refused.code not in _UNKNOWN:
            raise
        there = {}  # a kernel without ipsets
    ports = {
        (entry.set, entry.text.rpartition(":")[2]) for entries in there.values() for entry in entries if entry.text
    }
    marks = {mark for entries in there.values() for mark in entries.values() if mark is not None}
    yield from _servers({*standing_in, *(one.partition("/")[0] for one in bound)}, ports, marks)
    if there:
        names = tuple(sorted(one.name for one in there))
        yield Listed("ipset", _EITHER, IPVS, "ipset", names, "ipset destroy", partial(_destroy, names), {})
    if device:
        how = f"ip link delete {DEVICE}"
        yield Listed("addresses", _EITHER, IPVS, f"device {DEVICE}", (DEVICE, *bound), how, _delete_device, {})
    if standing_in:
        how = "ip route delete local … table local"
        yield Listed("routes", (FAIRWAY,), IPVS, "local routes", standing_in, how, stand_in_no_more, {})


def known_sets() -> list[IpSet]:
    """The ipsets of both programs' ipvs modes."""
    return [one for family in FAMILIES for one in sets(family).values()]


def _servers(bound: set[str], ports: set[tuple[str, str]], marks: set[int]) -> Iterator[Part]:
    """Virtual servers at addresses of the device, at the ports of node ports' sets, and for marks of a set."""
    if not _IPVS.exists():
        return
    try:
        with Ipvs() as ipvs:
            there = sorted(ipvs.services())
    except NoIpvs:
        return
    gone = tuple(
        one
        for one in there
        if (one.mark in marks if isinstance(one, Marked) else one.address in bound or _is_node_port(one, ports))
    )
    kept = {one.words: _why_kept(one) for one in there}
    for one in gone:
        del kept[one.words]
    if gone or kept:
        yield Listed(
            "virtual servers",
            _EITHER,
            IPVS,
            "ipvs",
            tuple(one.words for one in gone),
            "ipvsadm -D",
            partial(_delete_servers, gone),
            kept,
            frozenset(Address(one.address, one.protocol, one.port) for one in gone if isinstance(one, Virtual)),
        )


def _why_kept(virtual: Server) -> str:
    if isinstance(virtual, Marked):
        return "no ipset of a proxy gives packets this mark"
    return f"its address is not one of {DEVICE}, nor its port a node port"


def _is_node_port(virtual: Virtual, ports: set[tuple[str, str]]) -> bool:
    names = [f"{family}NODE-PORT-{virtual.protocol}" for family in ("KUBE-", "KUBE-6-")]
    names += [f"{family}NODE-PORT-LOCAL-{virtual.protocol}" for family in ("KUBE-", "KUBE-6-")]
    return any((one.startswith(tuple(names)) and port == str(virtual.port)) for one, port in ports)


def _delete_servers(gone: Iterable[Server]) -> None:
    with Ipvs() as ipvs:
        there = ipvs.services()
        ipvs.each([ipvs.delete_service(one) for one in gone if one in there])


def _destroy(names: Iterable[str]) -> None:
    with Ipset() as ipset:
        there = {one.name for one in ipset.sets(known_sets())}
        for name in names:
            if name in there:
                ipset.destroy(name)


def _delete_device() -> None:
    with Links() as links:
        if DEVICE in links.names():
            links.delete(DEVICE)


def _relays() -> Iterator[Part]:
    with Links() as links:
        there = {one for one in links.addresses(_LOOPBACK) if one.partition("/")[0] in ADDRESSES.values()}
    if there:
        names = tuple(sorted(there))
        how = f"ip address delete … dev {_LOOPBACK}"
        yield Listed("addresses", (FAIRWAY,), "", f"device {_LOOPBACK}", names, how, partial(_delete, names), {})


def _delete(addresses: Iterable[str]) -> None:
    with Links() as links:
        for one in addresses:
            try:
                links.delete_address(_LOOPBACK, one)
            except LinkError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise


@dataclass(frozen=True)
class Flows:
    """Which flows are stale: those to addresses ``gone``, translated, unless what is ``live`` has translated them."""

    gone: frozenset[Address]
    live: frozenset[Address]

    def read(self) -> list[Flow]:
        """As they are now."""
        if not self.gone:
            return []
        here = _local()
        with Conntrack() as conntrack:
            return [
                flow
                for protocol in sorted({one.protocol for one in self.gone})
                for flow in conntrack.flows(Match(protocol))
                if (flow.reply_source, flow.reply_port) != (flow.destination, flow.port)
                and _is_to(flow, self.gone, here)
                and not _is_to(flow, self.live, here)
            ]

    def forget(self) -> None:
        flows = self.read()
        with Conntrack() as conntrack:
            conntrack.delete(flows)


def _is_to(flow: Flow, addresses: frozenset[Address], here: set[str]) -> bool:
    if Address(flow.destination, flow.protocol, flow.port) in addresses:
        return True
    return flow.destination in here and Address("", flow.protocol, flow.port) in addresses


def _local() -> set[str]:
    with Links() as links:
        return {one.partition("/")[0] for name in links.names() for one in links.addresses(name)}
