"""A frontend's table of actions, translated into elements.

every kind of client gets the same      frontends { F : 3 }
they do not                             frontends { F : 3000000 }  frontends-pod { F : 3 }  frontends-outside …
pools                                   slots { F . 0 : B, F . 1 : B, F . 2 : B }
masquerade                              masquerade-node { F }  masquerade-outside { F }
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.model.view import Action, ActionKind, Client, Frontend, FrontendKind, NodeSettings, Pool
from fairway.modes.nftables.program import Fragment
from fairway.modes.nftables.ruleset import BY_CLIENT, LOCAL, REFUSE, THROW_AWAY, node_port_addresses, number_bytes
from fairway.modes.nftables.tables import (
    COMMENT_BYTES,
    Element,
    address_bytes,
    backend_bytes,
    family_of_key,
    frontend_bytes,
)

_FIRST_SLOT = {Pool.CLUSTER: 0, Pool.LOCAL: LOCAL}


def compile_frontend(frontend: Frontend, settings: NodeSettings) -> Fragment:
    """One frontend's share of the Program."""
    family = family_of_key(frontend.key)
    if frontend.kind is FrontendKind.OTHER_PORTS:
        address = Element("cluster-ips", address_bytes(frontend.address), None, _comment(frontend))
        return Fragment(frontend, family, (address,))
    actions = {client: frontend.action(client) for client in Client}
    pools = _used_pools(frontend, actions)
    numbers = {client: _number(frontend, action) for client, action in actions.items()}
    backends = [backend for pool in pools for backend in frontend.pool(pool)]
    return Fragment(
        frontend=frontend,
        family=family,
        elements=(
            *_dispatch(frontend, numbers),
            *_masquerade(frontend, actions),
            *_on_node_address(frontend, settings),
        ),
        slots={
            _FIRST_SLOT[pool]: tuple(backend_bytes(one.address, one.port) for one in frontend.pool(pool))
            for pool in pools
        },
        hairpin=frozenset(address_bytes(one.address) * 2 for one in backends if one.may_be_here),
        numbers=frozenset(n for n in numbers.values() if n not in (REFUSE, THROW_AWAY)),
    )


def unsupported(frontend: Frontend) -> list[str]:
    """What the frontend asks for and this mode does not do yet, as sentences for the user."""
    found: list[str] = []
    if frontend.affinity_seconds:
        found.append(
            f"Service {frontend.service}: sessionAffinity=ClientIP is not done by the nftables mode yet; "
            "each connection gets a backend at random"
        )
    if frontend.source_ranges:
        found.append(
            f"Service {frontend.service}: loadBalancerSourceRanges is not enforced by the nftables mode yet; "
            f"{frontend.key} is refused to everybody"
        )
    return found


def _used_pools(frontend: Frontend, actions: dict[Client, Action]) -> list[Pool]:
    used = {action.pool for action in actions.values() if action.kind is ActionKind.FORWARD}
    return [pool for pool in Pool if pool in used and frontend.pool(pool)]


def _number(frontend: Frontend, action: Action) -> int:
    if frontend.source_ranges:
        return THROW_AWAY  # an access list that cannot be kept must not open the door
    match action.kind:
        case ActionKind.DROP:
            return THROW_AWAY
        case ActionKind.REJECT:
            return REFUSE
        case ActionKind.FORWARD:
            count = len(frontend.pool(action.pool))
            return _FIRST_SLOT[action.pool] + count if count else REFUSE


def _dispatch(frontend: Frontend, numbers: dict[Client, int]) -> Iterator[Element]:
    key = frontend_bytes(frontend.key)
    comment = _comment(frontend)
    if len(set(numbers.values())) == 1:
        yield Element("frontends", key, number_bytes(numbers[Client.POD]), comment)
        return
    yield Element("frontends", key, number_bytes(BY_CLIENT), comment)
    for client, number in numbers.items():
        yield Element(f"frontends-{client}", key, number_bytes(number), comment)


def _masquerade(frontend: Frontend, actions: dict[Client, Action]) -> Iterator[Element]:
    for client, action in actions.items():
        if action.kind is ActionKind.FORWARD and action.masquerade:
            yield Element(f"masquerade-{client}", frontend_bytes(frontend.key))


def _on_node_address(frontend: Frontend, settings: NodeSettings) -> Iterator[Element]:
    """Keeps such a frontend from being masqueraded because a node port with its number is."""
    if frontend.kind is not FrontendKind.NODE_PORT and frontend.address in node_port_addresses(settings):
        yield Element("node-address-frontends", frontend_bytes(frontend.key))


def _comment(frontend: Frontend) -> str:
    """The Service port, for people who list the map. Names are DNS labels: nothing in them needs quoting."""
    return "".join(c for c in frontend.service_port if c.isalnum() or c in "-./:")[:COMMENT_BYTES]
