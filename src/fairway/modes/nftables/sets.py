"""The sets and maps that the constant ruleset looks into: what their keys and their data are.

frontends, frontends-pod …      ──▶ a number: what becomes of a packet
actions, client-actions, draws  ──▶ the chain for a number
slots, sticky-…                 ──▶ backends
source-ranges, masquerade-…     ──▶ who may connect, and who is seen
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.model.view import Client
from fairway.modes.nftables.tables import IDENTITY, NUMBER, VERDICT_DATA, Family, Set

REMEMBERED = 131_072
"""Clients and frontends that the affinity of one family remembers at a time; the kernel allots 2 MiB for them."""


def sets_of(family: Family, counted: bool) -> tuple[Set, ...]:
    """All of one family's. They are there from the start, and stay.

    ``counted`` says whether frontends count their connections.
    """
    source, destination = f"{family} saddr", f"{family} daddr"
    frontend = (destination, "meta l4proto", "th dport")
    number = (NUMBER,)
    return (
        Set(
            "frontends",
            frontend,
            number,
            comment="frontend : number of backends (+1000000: of this node), or what else actions says",
            counted=counted,
        ),
        *(Set(f"frontends-{c}", frontend, number, comment=f"the same, for clients: {c}") for c in Client),
        Set("slots", (*frontend, NUMBER), (destination, "th dport"), comment="frontend . number drawn : backend"),
        *_of_affinity(frontend, source, (destination, "th dport")),
        Set("actions", number, VERDICT_DATA, comment="what a number in frontends means"),
        # a map of its own: with one for both, by-client could lead to itself, and the kernel refuses loops
        Set("client-actions", number, VERDICT_DATA, comment="what a number in frontends-pod, -node, -outside means"),
        Set("cluster-ips", (destination,), comment="ports of these that are no frontend are refused"),
        Set("pinged", (destination,), comment="load balancers: this node answers pings of these and of cluster-ips"),
        Set("service-networks", (destination,), interval=True, comment="other addresses in these are dropped"),
        Set("pod-networks", (source,), interval=True, comment="clients here are pods"),
        Set("node-addresses", (source,), comment="clients here are this node"),
        Set("node-port-addresses", (destination,), comment="these take node ports, whose frontends are on any address"),
        Set("node-address-frontends", frontend, comment="frontends on an address that takes node ports too"),
        *(
            Set(f"masquerade-{c}", frontend, comment=f"frontends whose backends must not see the client's address: {c}")
            for c in Client
        ),
        Set("hairpin", (*frontend, source, destination), comment="backends that may reach themselves"),
        Set(
            "source-ranges",
            (*frontend, source, source),
            comment="frontend . first and last address of those that may use it, where not everybody may",
        ),
    )


def _of_affinity(frontend: tuple[str, ...], source: str, backend: tuple[str, ...]) -> Iterable[Set]:
    yield Set(
        "affinity",
        (*frontend, source),
        (IDENTITY,),
        comment="frontend . client : the backend it had, filled in by packets",
        capacity=REMEMBERED,
    )
    yield Set(
        "sticky-slots", (*frontend, NUMBER), (IDENTITY,), comment="frontend . number drawn : a backend's identity"
    )
    for pool, whose in (("", "backends"), ("-local", "backends of this node")):
        yield Set(f"sticky-counts{pool}", frontend, (NUMBER,), comment=f"frontend with affinity : number of {whose}")
        known = (*frontend, IDENTITY)
        yield Set(
            f"sticky-backends{pool}", known, backend, comment=f"frontend . identity : {whose}, those there are now"
        )
    yield Set("draws", (NUMBER,), VERDICT_DATA, comment="who draws one of so many")
