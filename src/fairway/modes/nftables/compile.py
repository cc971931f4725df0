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
from functools import lru_cache
from typing import NamedTuple

from fairway.model.hashing import table
from fairway.model.parts import Parts, derived_each
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
_CLIENTS = Client.POD, Client.NODE, Client.OUTSIDE
_Actions = tuple[Action, Action, Action]
"""Of each of them."""
_ADDRESSES = {FrontendKind.OTHER_PORTS: "cluster-ips", FrontendKind.PING: "pinged"}
"""Frontends that are an address alone, and the set it is in."""
_NO_SLOTS: dict[int, Slots] = {}
_NO_IDENTITIES: dict[bytes, int] = {}


def compile_frontend(frontend: Frontend, settings: NodeSettings) -> Fragment:
    """One frontend's share of the Program."""
    where = frontend.key
    family = family_of_key(where)
    if addresses := _ADDRESSES.get(frontend.kind):
        address = Element(addresses, address_bytes(frontend.address), None, _comment(frontend))
        return Fragment(frontend, family, (address,), _NO_SLOTS, identities=_NO_IDENTITIES)
    key, comment = frontend_bytes(where), _comment(frontend)
    actions = frontend.pod, frontend.node, frontend.outside
    pools = ((pool, frontend.pool(pool)) for pool in _used_pools(actions))
    slots = {_FIRST_SLOT[pool]: _slots(frontend, backends) for pool, backends in pools if backends}
    row = _row(actions, tuple([(first, len(some)) for first, some in slots.items()]), _how(frontend))
    identities = _identities(slots) if frontend.affinity_seconds else _NO_IDENTITIES
    return Fragment(
        frontend=frontend,
        family=family,
        elements=(
            *[Element(name, key, data, comment) for name, data in row.dispatch],
            *[Element(name, key) for name in row.masquerade],
            *_on_node_address(frontend, key, settings),
            *_hairpin(key, slots.values()),
            *(_source_ranges(frontend, key) if frontend.source_ranges else ()),
            *(_sticky(frontend, key, slots, identities) if identities else ()),
        ),
        slots=slots,
        numbers=row.numbers,
        fixed=frontend.balancing == HASH,
        identities=identities,
        key=key,
    )


class _How(NamedTuple):
    """What else decides how clients of a frontend get to a backend."""

    hashed: bool
    affinity: int
    """The number of its affinity, for the cluster pool; 0 without."""
    restricted: bool
    """Whether only some may connect."""


class _Row(NamedTuple):
    """A frontend's table of actions as elements, without the frontend: thousands have the same one."""

    dispatch: tuple[tuple[str, bytes], ...]
    """Maps, and what they have for the frontend."""
    masquerade: tuple[str, ...]
    """Sets that it is in."""
    numbers: frozenset[int]
    """The structure that takes."""


def _how(frontend: Frontend) -> _How:
    affinity = _affinity_number(frontend) if frontend.affinity_seconds else 0
    return _How(frontend.balancing == HASH, affinity, bool(frontend.source_ranges))


@lru_cache(maxsize=4096)
def _row(actions: _Actions, slots: tuple[tuple[int, int], ...], how: _How) -> _Row:
    """``slots`` has the number of each used pool's first slot, and how many it has."""
    drawn = {first: first + _drawn(how.hashed, count) for first, count in slots}
    numbers = {client: _number(action, drawn, how.affinity) for client, action in zip(_CLIENTS, actions, strict=True)}
    needed = {*numbers.values(), *(DRAW + one for one in drawn.values() if how.affinity)}
    masquerade = [
        f"masquerade-{client}"
        for client, action in zip(_CLIENTS, actions, strict=True)
        if action.masquerade and action.kind is ActionKind.FORWARD
    ]
    return _Row(
        dispatch=tuple(_dispatch(numbers, how.restricted)),
        masquerade=tuple(masquerade),
        numbers=frozenset(needed - {REFUSE, THROW_AWAY}),
    )


def _dispatch(numbers: dict[Client, int], restricted: bool) -> Iterator[tuple[str, bytes]]:
    if len(set(numbers.values())) == 1 and not restricted:
        yield "frontends", number_bytes(numbers[Client.POD])
        return
    yield "frontends", number_bytes(BY_SOURCE if restricted else BY_CLIENT)
    for client, number in numbers.items():
        yield f"frontends-{client}", number_bytes(number)


def _slots(frontend: Frontend, backends: Sequence[Backend]) -> Slots:
    """Each backend in as many slots as it weighs, or has places in the table."""
    if frontend.balancing == HASH:
        return Slots(backends, (backend_bytes(one.address, one.port) for one in table(backends)))
    return Slots(backends)


def _drawn(hashed: bool, slots: int) -> int:
    """What says how one of so many slots is found."""
    return HASHED + slots if hashed else slots


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
        drawn = _drawn(frontend.balancing == HASH, len(backends))
        yield Element(f"sticky-counts{pool}", key, number_bytes(first + drawn))
        for backend in dict.fromkeys(backends):
            yield Element(f"sticky-backends{pool}", key + number_bytes(identities[backend]), backend)


@lru_cache(maxsize=256)
def _used_pools(actions: _Actions) -> tuple[Pool, ...]:
    used = [action.pool for action in actions if action.kind is ActionKind.FORWARD]
    return tuple(pool for pool in _FIRST_SLOT if pool in used)


def _number(action: Action, drawn: dict[int, int], affinity: int) -> int:
    match action.kind:
        case ActionKind.DROP:
            return THROW_AWAY
        case ActionKind.REJECT | ActionKind.ANSWER:
            return REFUSE
        case ActionKind.FORWARD:
            first = _FIRST_SLOT[action.pool]
            if first not in drawn:
                return REFUSE
            if affinity:
                return affinity + (AFFINITY_LOCAL if action.pool is Pool.LOCAL else 0)
            return drawn[first]


def _affinity_number(frontend: Frontend) -> int:
    node_port = AFFINITY_NODE_PORT if frontend.kind is FrontendKind.NODE_PORT else 0
    return AFFINITY + node_port + min(frontend.affinity_seconds, _DAY)


def _on_node_address(frontend: Frontend, key: bytes, settings: NodeSettings) -> tuple[Element, ...]:
    """Keeps such a frontend from being masqueraded because a node port with its number is."""
    if frontend.kind is not FrontendKind.NODE_PORT and settings.takes_node_ports(frontend.address):
        return (Element("node-address-frontends", key),)
    return ()


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


def _source_ranges(frontend: Frontend, key: bytes) -> Iterator[Element]:
    for first, after, size in spans(frontend.source_ranges):
        yield Element("source-ranges", key + first.to_bytes(size, "big") + key + (after - 1).to_bytes(size, "big"))


def _comment(frontend: Frontend) -> str:
    """The Service port, for people who list the map. Names are DNS labels: nothing in them needs quoting."""
    return _UNPRINTED.sub("", frontend.service_port)[:COMMENT_BYTES]
