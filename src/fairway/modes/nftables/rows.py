"""A frontend's table of actions, without the frontend: which maps have it with what, and which sets it is in.

    pod, node, outside ──▶ Rows ──how many slots its pools have──▶ Row: frontends { … : 3 }, the structure that takes

Thousands of frontends have the same Rows, and keep them from one change of their pools to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from fairway.model.view import HASH, Action, ActionKind, Client, Frontend, FrontendKind, Pool
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
    pool_suffix,
)
from fairway.modes.nftables.tables import Element

FIRST_SLOT = {Pool.CLUSTER: 0, Pool.LOCAL: LOCAL}
Counts = tuple[tuple[int, int], ...]
"""The number of each pool's first slot, and how many slots it has; without empty pools."""
_CLIENTS = Client.POD, Client.NODE, Client.OUTSIDE
_Actions = tuple[Action, Action, Action]
"""Of each of them."""
_DAY = 86_400
"""The longest affinity that Kubernetes accepts."""


class How(NamedTuple):
    """What else decides how clients of a frontend get to a backend."""

    hashed: bool
    affinity: int
    """The number of its affinity, for the cluster pool; 0 without."""
    restricted: bool
    """Whether only some may connect."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """All of it that is about how many slots there are."""

    dispatch: tuple[tuple[str, bytes], ...]
    """Maps, and what they have for the frontend."""
    sticky: tuple[tuple[str, bytes], ...]
    """The same of those that session affinity draws by."""
    numbers: frozenset[int]
    """The structure that takes."""
    rows: Rows
    """The table of actions that it is of."""
    size: int
    """How many elements it is."""

    def elements(self, key: bytes, comment: str) -> list[Element]:
        """Of a frontend; the comment is on the first one at least."""
        found = [Element(name, key, data, comment) for name, data in self.dispatch]
        found += [Element(name, key, data) for name, data in self.sticky] if self.sticky else ()
        return found


class Rows:
    """One table of actions."""

    __slots__ = ("_actions", "_how", "masquerade", "pools", "row")

    def __init__(self, actions: _Actions, how: How) -> None:
        self._actions, self._how = actions, how
        forwarding = [(client, one) for client, one in zip(_CLIENTS, actions, strict=True) if _forwards(one)]
        used = {one.pool for _, one in forwarding}
        self.pools = tuple((first, pool) for pool, first in FIRST_SLOT.items() if pool in used)
        """Those that are used, each with the number of its first slot."""
        self.masquerade = tuple(f"masquerade-{client}" for client, one in forwarding if one.masquerade)
        """Sets that the frontend is in."""
        self.row = lru_cache(maxsize=256)(self._row)

    def _row(self, counts: Counts) -> Row:
        how = self._how
        drawn = {first: first + count + (HASHED if how.hashed else 0) for first, count in counts}
        numbers = {client: self._number(action, drawn) for client, action in zip(_CLIENTS, self._actions, strict=True)}
        sticky = drawn if how.affinity else {}
        needed = {*numbers.values(), *(DRAW + one for one in sticky.values())}
        dispatch = tuple(_dispatch(numbers, how.restricted))
        draws = tuple((f"sticky-counts{suffix_of(first)}", number_bytes(one)) for first, one in sticky.items())
        structure = frozenset(needed - {REFUSE, THROW_AWAY})
        return Row(dispatch, draws, structure, self, len(dispatch) + len(draws))

    def _number(self, action: Action, drawn: dict[int, int]) -> int:
        match action.kind:
            case ActionKind.DROP:
                return THROW_AWAY
            case ActionKind.REJECT | ActionKind.ANSWER:
                return REFUSE
            case ActionKind.FORWARD:
                first = FIRST_SLOT[action.pool]
                if first not in drawn:
                    return REFUSE
                if self._how.affinity:
                    return self._how.affinity + (AFFINITY_LOCAL if action.pool is Pool.LOCAL else 0)
                return drawn[first]


@lru_cache(maxsize=1024)
def _rows(actions: _Actions, how: How) -> Rows:
    return Rows(actions, how)


def rows(frontend: Frontend) -> Rows:
    """Its table of actions."""
    affinity = _affinity_number(frontend) if frontend.affinity_seconds else 0
    how = How(frontend.balancing == HASH, affinity, bool(frontend.source_ranges))
    return _rows((frontend.pod, frontend.node, frontend.outside), how)


def suffix_of(first: int) -> str:
    """What the names of sets end with that are about the pool with this first slot."""
    return pool_suffix(first == LOCAL)


def _forwards(action: Action) -> bool:
    return action.kind is ActionKind.FORWARD


def _dispatch(numbers: dict[Client, int], restricted: bool) -> Iterator[tuple[str, bytes]]:
    if len(set(numbers.values())) == 1 and not restricted:
        yield "frontends", number_bytes(numbers[Client.POD])
        return
    yield "frontends", number_bytes(BY_SOURCE if restricted else BY_CLIENT)
    for client, number in numbers.items():
        yield f"frontends-{client}", number_bytes(number)


def _affinity_number(frontend: Frontend) -> int:
    node_port = AFFINITY_NODE_PORT if frontend.kind is FrontendKind.NODE_PORT else 0
    return AFFINITY + node_port + min(frontend.affinity_seconds, _DAY)
