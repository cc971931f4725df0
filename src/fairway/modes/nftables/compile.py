"""A frontend's table of actions, translated into elements.

every kind of client gets the same      frontends { F : 3 }
they do not                             frontends { F : 3000000 }  frontends-pod { F : 3 }  frontends-outside …
pools                                   slots { F . 0 : B, F . 1 : B, F . 2 : B }
session affinity                        frontends { F : 5010800 }  sticky-slots { F . 0 : I }  sticky-… { F . I : B }
masquerade                              masquerade-node { F }  masquerade-outside { F }
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from fairway.model.hashing import table
from fairway.model.parts import Parts, derived
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
from fairway.modes.nftables.program import Fragment
from fairway.modes.nftables.ruleset import (
    AFFINITY,
    AFFINITY_LOCAL,
    AFFINITY_NODE_PORT,
    BY_CLIENT,
    BY_SOURCE,
    DRAW,
    HASHED,
    LOCAL,
    REFUSE,
    THROW_AWAY,
    number_bytes,
    spans,
)
from fairway.modes.nftables.slots import Slots
from fairway.modes.nftables.structure import identity
from fairway.modes.nftables.tables import (
    COMMENT_BYTES,
    Element,
    address_bytes,
    backend_bytes,
    family_of_key,
    frontend_bytes,
)

_FIRST_SLOT = {Pool.CLUSTER: 0, Pool.LOCAL: LOCAL}
_DAY = 86_400
"""The longest affinity that Kubernetes accepts."""
_UNPRINTED = re.compile(r"[^\w./:-]|_")
_OF_CLIENT = {client: f"frontends-{client}" for client in Client}
_MASQUERADE = {client: f"masquerade-{client}" for client in Client}
_CLIENTS = tuple(Client)
_NO_SLOTS: dict[int, Slots] = {}
_NO_IDENTITIES: dict[bytes, int] = {}


def compile_frontend(frontend: Frontend, settings: NodeSettings) -> Fragment:
    """One frontend's share of the Program."""
    family = family_of_key(frontend.key)
    if frontend.kind is FrontendKind.OTHER_PORTS:
        address = Element("cluster-ips", address_bytes(frontend.address), None, _comment(frontend))
        return Fragment(frontend, family, (address,), _NO_SLOTS, identities=_NO_IDENTITIES)
    if frontend.kind is FrontendKind.PING:
        address = Element("pinged", address_bytes(frontend.address), None, _comment(frontend))
        return Fragment(frontend, family, (address,), _NO_SLOTS, identities=_NO_IDENTITIES)
    key = frontend_bytes(frontend.key)
    actions = {client: frontend.action(client) for client in _CLIENTS}
    slots = {_FIRST_SLOT[pool]: _slots(frontend, pool) for pool in _used_pools(frontend, actions)}
    numbers = {client: _number(frontend, action, slots) for client, action in actions.items()}
    identities = _identities(slots) if frontend.affinity_seconds else _NO_IDENTITIES
    draws = (DRAW + first + _drawn(frontend, len(backends)) for first, backends in slots.items() if identities)
    return Fragment(
        frontend=frontend,
        family=family,
        elements=(
            *_dispatch(frontend, key, numbers),
            *_masquerade(key, actions),
            *_on_node_address(frontend, key, settings),
            *_hairpin(key, slots.values()),
            *(_source_ranges(frontend, key) if frontend.source_ranges else ()),
            *(_sticky(frontend, key, slots, identities) if identities else ()),
        ),
        slots=slots,
        numbers=_structure_of(*numbers.values(), *draws),
        fixed=frontend.balancing == HASH,
        identities=identities,
        key=key,
    )


@lru_cache(maxsize=4096)
def _structure_of(*numbers: int) -> frozenset[int]:
    """Those numbers that chains are made for; the same set for all frontends alike."""
    return frozenset(one for one in numbers if one not in (REFUSE, THROW_AWAY))


def _slots(frontend: Frontend, pool: Pool) -> Slots:
    """Each backend in as many slots as it weighs, or has places in the table."""
    backends = frontend.pool(pool)
    if frontend.balancing == HASH:
        return Slots(backends, (backend_bytes(one.address, one.port) for one in table(backends)))
    return Slots(backends)


def _drawn(frontend: Frontend, slots: int) -> int:
    """What says how one of so many slots is found."""
    return HASHED + slots if frontend.balancing == HASH else slots


def unsupported(frontend: Frontend) -> list[str]:
    """What the frontend asks for and this mode does not do, as sentences for the user."""
    found = []
    if frontend.balancing not in (RANDOM, HASH):
        shown = repr(frontend.balancing[:63])
        found.append(
            f"Service {frontend.service}: fairway.dev/balancing must be {RANDOM} or {HASH}, not {shown}; it is {RANDOM}"
        )
    if frontend.scheduler:
        found.append(
            f"Service {frontend.service}: fairway.dev/ipvs-scheduler has no effect: only the ipvs mode has schedulers"
        )
    return found


def _identities(slots: dict[int, Slots]) -> dict[bytes, int]:
    """One number for each backend, in whichever pool it is, and never one for two."""
    found: dict[bytes, int] = {}
    taken: set[int] = set()
    for backend in sorted({one for backends in slots.values() for one in backends}):
        found[backend] = identity(backend, taken)
        taken.add(found[backend])
    return found


def _sticky(frontend: Frontend, key: bytes, slots: dict[int, Slots], identities: dict[bytes, int]) -> Iterator[Element]:
    """How many to draw from, and the backends by what clients remember of them."""
    for first, backends in slots.items() if identities else ():
        pool = "-local" if first == LOCAL else ""
        yield Element(f"sticky-counts{pool}", key, number_bytes(first + _drawn(frontend, len(backends))))
        for backend in dict.fromkeys(backends):
            yield Element(f"sticky-backends{pool}", key + number_bytes(identities[backend]), backend)


def _used_pools(frontend: Frontend, actions: dict[Client, Action]) -> list[Pool]:
    used = [action.pool for action in actions.values() if action.kind is ActionKind.FORWARD]
    return [pool for pool in _FIRST_SLOT if pool in used and frontend.pool(pool)]


def _number(frontend: Frontend, action: Action, slots: dict[int, Slots]) -> int:
    match action.kind:
        case ActionKind.DROP:
            return THROW_AWAY
        case ActionKind.REJECT | ActionKind.ANSWER:
            return REFUSE
        case ActionKind.FORWARD:
            first = _FIRST_SLOT[action.pool]
            if first not in slots:
                return REFUSE
            if frontend.affinity_seconds:
                return _affinity_number(frontend, action.pool)
            return first + _drawn(frontend, len(slots[first]))


def _affinity_number(frontend: Frontend, pool: Pool) -> int:
    node_port = AFFINITY_NODE_PORT if frontend.kind is FrontendKind.NODE_PORT else 0
    return AFFINITY + node_port + (AFFINITY_LOCAL if pool is Pool.LOCAL else 0) + min(frontend.affinity_seconds, _DAY)


def _dispatch(frontend: Frontend, key: bytes, numbers: dict[Client, int]) -> Iterator[Element]:
    comment = _comment(frontend)
    if len(set(numbers.values())) == 1 and not frontend.source_ranges:
        yield Element("frontends", key, number_bytes(numbers[Client.POD]), comment)
        return
    yield Element("frontends", key, number_bytes(BY_SOURCE if frontend.source_ranges else BY_CLIENT), comment)
    for client, number in numbers.items():
        yield Element(_OF_CLIENT[client], key, number_bytes(number), comment)


def _masquerade(key: bytes, actions: dict[Client, Action]) -> list[Element]:
    return [
        Element(_MASQUERADE[client], key)
        for client, action in actions.items()
        if action.masquerade and action.kind is ActionKind.FORWARD
    ]


def _on_node_address(frontend: Frontend, key: bytes, settings: NodeSettings) -> tuple[Element, ...]:
    """Keeps such a frontend from being masqueraded because a node port with its number is."""
    if frontend.kind is not FrontendKind.NODE_PORT and settings.takes_node_ports(frontend.address):
        return (Element("node-address-frontends", key),)
    return ()


def _hairpin(key: bytes, slots: Iterable[Slots]) -> list[Element]:
    """Backends on this node that their own connection may be given to."""
    here = set[str]()
    for some in slots:
        if isinstance(some.pool, Parts):
            here.update(address for part in some.pool.parts for address in derived(part, _may_be_here))
        else:
            here.update(_may_be_here(some.pool))
    return [Element("hairpin", key + address_bytes(address) * 2) for address in sorted(here)]


def _may_be_here(backends: Iterable[Backend]) -> list[str]:
    return [one.address for one in backends if one.local or not one.node]


def _source_ranges(frontend: Frontend, key: bytes) -> Iterator[Element]:
    for first, after, size in spans(frontend.source_ranges):
        yield Element("source-ranges", key + first.to_bytes(size, "big") + key + (after - 1).to_bytes(size, "big"))


def _comment(frontend: Frontend) -> str:
    """The Service port, for people who list the map. Names are DNS labels: nothing in them needs quoting."""
    return _UNPRINTED.sub("", frontend.service_port)[:COMMENT_BYTES]
