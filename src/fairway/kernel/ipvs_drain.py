"""The rest of the ipvs mode when another one has followed: virtual servers that still have connections.

    retire ──▶ idle virtual servers, rules, device with its addresses: gone
           ╰─▶ busy ones stay, and a local route to each of their addresses, so that packets still come to IPVS
    left ────▶ connections that IPVS knows ── 0 ──▶ finish: the rest, routes and ipsets, goes, too

New connections are translated before IPVS sees them, by the mode that follows. The routes have a preferred source: what
the node itself connects to an address that it has, it connects from that very address, which nobody can answer.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fairway.kernel.addresses import Addresses
from fairway.kernel.command import CommandFailed
from fairway.kernel.contract import ApplyFailed
from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import Ipvs, real_servers
from fairway.kernel.links import LinkError, Links
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.model.address import contains, family_of, is_loopback
from fairway.modes.ipvs.parts import DEVICE, Marked, Server, Virtual, sets
from fairway.modes.xtables import FAMILIES

_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")


@dataclass(frozen=True)
class IpvsDrain:
    """`fairway.kernel.contract.Drain` for the network namespace of the thread that calls."""

    virtuals: frozenset[Server]

    def left(self) -> int:
        """Connections as IPVS counts them: those of TCP until it has forgotten that they were closed (two minutes), UDP
        flows until they have been silent for five."""
        try:
            return sum(
                seen.active + seen.inactive for real, seen in real_servers().items() if real.virtual in self.virtuals
            )
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def finish(self) -> None:
        try:
            with Ipvs() as ipvs:
                there = ipvs.services()
                ipvs.each([ipvs.delete_service(one) for one in there if one in self.virtuals])
            stand_in_no_more()
            with Ipset() as ipset:
                known = [one for family in FAMILIES for one in sets(family).values()]
                for one in ipset.sets(known):
                    ipset.destroy(one.name)
        except (KernelRefused, Interrupted, OSError, CommandFailed) as error:
            raise ApplyFailed(str(error)) from error


def begin(ipvs: Ipvs, is_ours: Callable[[Server], bool]) -> IpvsDrain:
    """Remove what is idle; ``is_ours`` says which virtual servers may go at all."""
    live = real_servers()
    busy = {real.virtual for real, seen in live.items() if seen.active + seen.inactive}
    ours = [one for one in ipvs.services() if is_ours(one)]
    needed = {one for one in ours if one in busy}
    with Links() as links:
        bound = {one.partition("/")[0] for one in links.addresses(DEVICE)} if DEVICE in links.names() else set()
    # One that is found by a mark may have connections to any address.
    by_mark = any(isinstance(one, Marked) for one in needed)
    asked = bound if by_mark else {one.address for one in needed if isinstance(one, Virtual)} & bound
    stand_in(sorted(one for one in asked if not contains(_LINK_LOCAL, one)))
    with Links() as links:
        if DEVICE in links.names():
            links.delete(DEVICE)
    ipvs.each([ipvs.delete_service(one) for one in ours if one not in needed])
    return IpvsDrain(frozenset(needed))


def stand_in(addresses: Iterable[str]) -> None:
    """Local routes to these."""
    with Addresses() as here:
        own = [one for one in here.list() if not is_loopback(one) and not contains(_LINK_LOCAL, one)]
    with Links() as links:
        known = set(links.local_routes())
        for address in addresses:
            if address in known:
                continue
            source = next((one for one in own if family_of(one) == family_of(address)), "")
            links.add_local_route(address, source)


def stand_in_no_more() -> None:
    with Links() as links:
        for address in links.local_routes():
            try:
                links.delete_local_route(address)
            except LinkError as error:
                if error.errno != errno.ESRCH:
                    raise
