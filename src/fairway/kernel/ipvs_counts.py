"""What IPVS counts, by where clients ask: connections that there are and were, packets and bytes.

virtual server of an address ──┐
                               ├──▶ one count for the frontend
virtual server of a mark ──────┘  (the ipset that gives the mark says of which)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from fairway.kernel.contract import ApplyFailed, Figure
from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import Ipvs, Traffic, real_servers
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.model.view import FrontendKey
from fairway.modes.ipvs.parts import Entry, Marked, Server, Virtual, sets
from fairway.modes.xtables import Family

Places: TypeAlias = Callable[[Server], Server]
"""Where the clients of a virtual server ask."""


class Counts:
    """Over sockets of its own, because other threads ask. Every method raises `ApplyFailed`."""

    def __init__(self, ipvs: Ipvs, ipset: Ipset, families: Iterable[Family]) -> None:
        self._ipvs, self._ipset = ipvs, ipset
        self._pools = [one for family in families for one in sets(family).values() if one.marks]
        self._work = threading.Lock()

    def figures(self) -> Iterator[Figure]:
        """What Prometheus asks for: connections there are, and what each virtual server has seen so far."""
        with self._work:
            live, traffic, places = real_servers(), *self._seen()
        there = {virtual: [0, 0] for virtual in map(places, traffic)}
        for real, found in live.items():
            counts = there.setdefault(places(real.virtual), [0, 0])
            counts[0] += found.active
            counts[1] += found.inactive
        for virtual, counts in there.items():
            for state, count in zip(("active", "inactive"), counts, strict=True):
                labels = {**_labels(virtual), "state": state}
                yield Figure("fairway_ipvs_connections", "Connections of IPVS now", labels, count)
        for virtual, seen in _together(traffic, places).items():
            labels = _labels(virtual)
            yield Figure("fairway_ipvs_new_connections_total", "Connections that IPVS took", labels, seen.connections)
            for way, packets, size in (
                ("in", seen.packets_in, seen.bytes_in),
                ("out", seen.packets_out, seen.bytes_out),
            ):
                on = {**labels, "direction": way}
                yield Figure("fairway_ipvs_packets_total", "Packets that IPVS passed on", on, packets)
                yield Figure("fairway_ipvs_bytes_total", "Bytes that IPVS passed on", on, size)

    def connections(self) -> dict[FrontendKey, int]:
        """How many each virtual server has had; those by marks count where their clients ask."""
        with self._work:
            found = _together(*self._seen())
        return {FrontendKey(*_where(one)): seen.connections for one, seen in found.items() if isinstance(one, Virtual)}

    def _seen(self) -> tuple[Mapping[Server, Traffic], Places]:
        try:
            traffic = self._ipvs.traffic()
            found = self._ipset.sets(self._pools).values()
        except (KernelRefused, Interrupted, OSError) as error:
            raise ApplyFailed(str(error)) from error
        asked = {mark: _asked(entry) for entries in found for entry, mark in entries.items()}
        return traffic, lambda one: asked.get(one.mark, one) if isinstance(one, Marked) else one


def _asked(entry: Entry) -> Virtual:
    """``203.0.113.1,tcp:80``"""
    address, _, rest = entry.text.partition(",")
    protocol, _, port = rest.partition(":")
    return Virtual(protocol.upper(), address, int(port))


def _together(traffic: Mapping[Server, Traffic], places: Places) -> dict[Server, Traffic]:
    """A frontend's traffic, whichever of its virtual servers it took."""
    found: dict[Server, Traffic] = {}
    for virtual, seen in traffic.items():
        where = places(virtual)
        before = found.get(where)
        found[where] = seen if before is None else Traffic(*map(sum, zip(before, seen, strict=True)))
    return found


def _where(virtual: Virtual) -> tuple[str, str, int]:
    return virtual.address, virtual.protocol, virtual.port


def _labels(virtual: Server) -> dict[str, str]:
    if isinstance(virtual, Marked):  # somebody else's: nobody knows where its clients ask
        return {"address": "", "port": "0", "protocol": f"mark {virtual.mark:#x}"}
    return {"address": virtual.address, "port": str(virtual.port), "protocol": virtual.protocol}
