"""A frontend's table of actions, translated into elements.

every kind of client gets the same      frontends { F : 3 }
they do not                             frontends { F : 3000000 }  frontends-pod { F : 3 }  frontends-outside …
pools                                   slots { F . 0 : B, F . 1 : B, F . 2 : B }
session affinity                        frontends { F : 5010800 }  sticky-slots { F . 0 : I }  sticky-… { F . I : B }
masquerade                              masquerade-node { F }  masquerade-outside { F }
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from fairway.model.hashing import PLACES, table
from fairway.model.parts import Parts, derived_each, difference
from fairway.model.view import HASH, RANDOM, Backend, Frontend, FrontendKind, NodeSettings
from fairway.modes.nftables.identities import identities_of
from fairway.modes.nftables.networks import source_networks
from fairway.modes.nftables.program import Fragment
from fairway.modes.nftables.rows import Counts, Row, Rows, rows
from fairway.modes.nftables.slots import Slots
from fairway.modes.nftables.tables import (
    COMMENT_BYTES,
    Element,
    address_bytes,
    backend_bytes,
    family_of_key,
    frontend_bytes,
)

_UNPRINTED = re.compile(r"[^a-zA-Z0-9./:-]")
_ADDRESSES = {FrontendKind.OTHER_PORTS: "cluster-ips", FrontendKind.PING: "pinged"}
"""Frontends that are an address alone, and the set it is in."""


def compile_frontend(frontend: Frontend, settings: NodeSettings, before: Fragment | None = None) -> Fragment:
    """One frontend's share of the Program.

    ``before`` is the one that it had under the same settings: when only its pools have changed, whatever is not about
    what is different there is the same.
    """
    if before is not None and before.row is not None and _is_same_but_for_pools(before.frontend, frontend):
        return _followed(before, before.row, frontend, settings)
    where = frontend.key
    family = family_of_key(where)
    if addresses := _ADDRESSES.get(frontend.kind):
        address = Element(addresses, address_bytes(frontend.address), None, _comment(frontend))
        return Fragment(frontend, family, (address,), (), None)
    key, its = frontend_bytes(where), rows(frontend)
    pools = ((first, frontend.pool(pool)) for first, pool in its.pools)
    slots = tuple([_slots(frontend, first, backends) for first, backends in pools if backends])
    row = its.row(_counts(slots))
    elements = (*row.elements(key, _comment(frontend)), *_others(frontend, its, key, slots, settings))
    identities = identities_of(slots) if frontend.affinity_seconds else None
    hashed = frontend.balancing == HASH
    return Fragment(frontend, family, elements, slots, identities, hashed, key, row)


def _is_same_but_for_pools(old: Frontend, new: Frontend) -> bool:
    """Whether all else that is compiled is; they have the same key."""
    return (
        old.kind is new.kind
        and old.pod == new.pod
        and old.node == new.node
        and old.outside == new.outside
        and old.service == new.service
        and old.port_name == new.port_name
        and old.affinity_seconds == new.affinity_seconds
        and old.balancing == new.balancing
        and old.source_ranges == new.source_ranges
    )


def _followed(before: Fragment, known: Row, frontend: Frontend, settings: NodeSettings) -> Fragment:
    """The Fragment of a frontend that is another one in its pools alone; costs what is different there."""
    its = known.rows
    made: list[Slots] = []
    elsewhere = True  # nobody who comes or goes may be on this node
    for first, pool in its.pools:
        backends, there = frontend.pool(pool), before.slots_from(first)
        different = difference(there.pool if there is not None else (), backends)
        size = there.size if there is not None else 0
        for one in chain(*different.gone):
            size -= one.weight
            elsewhere = elsewhere and not one.may_be_here
        for one in chain(*different.come):
            size += one.weight
            elsewhere = elsewhere and not one.may_be_here
        if there is not None and backends and not before.fixed:
            made.append(there.followed(backends, different, size))
        elif backends:
            made.append(_slots(frontend, first, backends))
    key, old, slots = before.key, before.elements, tuple(made)
    row = its.row(_counts(slots))
    others = old[known.size :] if elsewhere else _others(frontend, its, key, slots, settings)
    elements = old if row is known and elsewhere else (*row.elements(key, old[0].comment), *others)
    identities = before.identities
    if identities is not None:
        identities = identities_of(slots) if before.fixed else identities.followed(before.slots, slots)
    return Fragment(frontend, before.family, elements, slots, identities, before.fixed, key, row)


def _counts(slots: Iterable[Slots]) -> Counts:
    return tuple([(some.first, some.size) for some in slots])


def _slots(frontend: Frontend, first: int, backends: Sequence[Backend]) -> Slots:
    """Each backend in as many slots as it weighs, or has places in the table."""
    if frontend.balancing == HASH:
        packed = b"".join([backend_bytes(one.address, one.port) for one in table(backends)])
        return Slots(backends, packed, first=first)
    return Slots(backends, first=first)


def _others(
    frontend: Frontend, its: Rows, key: bytes, slots: Iterable[Slots], settings: NodeSettings
) -> Iterator[Element]:
    """The elements that are the same however many slots there are."""
    for name in its.masquerade:
        yield Element(name, key)
    # keeps it from being masqueraded because a node port with its number is
    if frontend.kind is not FrontendKind.NODE_PORT and settings.takes_node_ports(frontend.address):
        yield Element("node-address-frontends", key)
    yield from _hairpin(key, slots)
    for network in source_networks(frontend.source_ranges) if frontend.source_ranges else ():
        yield Element("source-ranges", key + network)


def _hairpin(key: bytes, slots: Iterable[Slots]) -> list[Element]:
    """Backends on this node that their own connection may be given to."""
    here = set[str]()
    for some in slots:
        if type(some.pool) is Parts:
            here.update(*derived_each(some.pool.parts, _may_be_here))
        else:
            here.update(_may_be_here(some.pool))
    return [Element("hairpin", key + address_bytes(address) * 2) for address in sorted(here)]


def _may_be_here(backends: Iterable[Backend]) -> list[str]:
    return [one.address for one in backends if one.local or not one.node]


def unsupported(frontend: Frontend) -> list[str]:
    """What the frontend asks for and this mode does not do, as sentences for the user."""
    found = []
    if frontend.balancing not in (RANDOM, HASH):
        shown = repr(frontend.balancing[:63])
        found.append(
            f"Service {frontend.service}: fairway.dev/balancing must be {RANDOM} or {HASH}, not {shown}; it is {RANDOM}"
        )
    if frontend.balancing == HASH and max(len(frontend.cluster), len(frontend.local)) > PLACES:
        found.append(
            f"Service {frontend.service}: fairway.dev/balancing {HASH} has {PLACES} places: of more backends some "
            "get no clients"
        )
    if frontend.scheduler:
        found.append(
            f"Service {frontend.service}: fairway.dev/ipvs-scheduler has no effect: only the ipvs mode has schedulers"
        )
    return found


def _comment(frontend: Frontend) -> str:
    """The Service port, for people who list the map. Names are DNS labels; what none can have would need quoting, or
    more than a byte."""
    return _UNPRINTED.sub("", frontend.service_port)[:COMMENT_BYTES]
