"""Who is next: the choice of a backend for each connection, with what only a relay remembers.

affinity ──▶ the backend that the client had, while its time lasts
   │ none, or it has left, or it does not answer
   ▼
balancing ──▶ round-robin    in turn, by weight, from a random start
              least          the fewest open connections for its weight; in turn among equals
              random, hash   as the kernel's modes do it
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from fairway.model.hashing import chosen
from fairway.model.view import HASH, LEAST_CONNECTIONS, RANDOM, Backend

MOST_REMEMBERED = 65_536
"""Clients with affinity for each listener; the one that came longest ago is forgotten first (as nf_tables' sets)."""

_MOST_SKIPPED = 32
"""Turns left out before the first; each looks at every backend."""

Address = tuple[str, int]


class _Memory(NamedTuple):
    backend: Address
    until: float


class Balancer:
    """The backends of one listener. Moments are readings of a monotonic clock; ``draw(n)`` is a number below n."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._backends: dict[Address, Backend] = {}
        self._weights: dict[Address, int] = {}
        self._credit: dict[Address, int] = {}
        self._order: list[Address] = []
        """All backends in their turns, when all weigh the same: then nobody has to be compared."""
        self._turn = 0
        self._balancing = ""
        self._affinity = 0
        self._memory: OrderedDict[str, _Memory] = OrderedDict()
        self.active: dict[Address, int] = {}
        """Open connections by backend, also of those that have left."""

    def put(self, backends: Iterable[Backend], balancing: str, affinity_seconds: int) -> None:
        """What counts from now on; who stays keeps its turn."""
        self._backends = {(one.address, one.port): one for one in backends}
        self._weights = {address: one.weight for address, one in self._backends.items()}
        fresh = not self._credit
        self._credit = {address: self._credit.get(address, 0) for address in self._backends}
        self._order = list(self._backends) if len(set(self._weights.values())) == 1 else []
        if fresh and self._credit:
            # Many proxies start at the same moment: they must not all begin with the same backend.
            self._turn = self._draw(len(self._credit))
            for _ in range(min(self._turn, _MOST_SKIPPED)):
                self._in_turn(list(self._credit))
        self._balancing, self._affinity = balancing, affinity_seconds
        if not affinity_seconds:
            self._memory.clear()

    def pick(self, client: str, now: float, without: Collection[Address] = ()) -> Backend | None:
        """The backend for a new connection of this client; None when all that there are have been tried."""
        remembered = self._remembered(client, now)
        if remembered and (remembered.address, remembered.port) not in without:
            return remembered
        if self._order and self._balancing not in (HASH, RANDOM, LEAST_CONNECTIONS) and not without:
            self._turn = (self._turn + 1) % len(self._order)
            return self._backends[self._order[self._turn]]
        free = [address for address in self._backends if address not in without]
        if not free:
            return None
        return self._backends[self._next(free, client)]

    def begin(self, backend: Backend) -> None:
        """A connection to it is being made: it counts from now on, or all that come at once would go to one."""
        address = (backend.address, backend.port)
        self.active[address] = self.active.get(address, 0) + 1

    def connected(self, client: str, backend: Backend, now: float) -> None:
        """The backend has answered: it is the client's for as long as affinity lasts."""
        self._remember(client, (backend.address, backend.port), now)

    def end(self, backend: Backend) -> None:
        """What began has ended, or never came about."""
        address = (backend.address, backend.port)
        remaining = self.active[address] - 1
        if remaining:
            self.active[address] = remaining
        else:
            del self.active[address]

    def left(self, client: str, backend: Backend, now: float) -> None:
        """A connection that was made has ended; affinity counts from the last use."""
        self.end(backend)
        if (memory := self._memory.get(client)) and memory.backend == (backend.address, backend.port):
            self._remember(client, memory.backend, now)

    def _remember(self, client: str, address: Address, now: float) -> None:
        if not self._affinity:
            return
        self._memory[client] = _Memory(address, now + self._affinity)
        self._memory.move_to_end(client)
        if len(self._memory) > MOST_REMEMBERED:
            self._memory.popitem(last=False)

    def _remembered(self, client: str, now: float) -> Backend | None:
        memory = self._memory.get(client)
        if memory is None or now >= memory.until:
            return None
        return self._backends.get(memory.backend)

    def _next(self, free: list[Address], client: str) -> Address:
        if self._balancing == HASH:
            backend = chosen(tuple(self._backends[one] for one in free), client)
            return backend.address, backend.port
        if self._balancing == RANDOM:
            return self._by_lot(free)
        if self._balancing == LEAST_CONNECTIONS:
            loads = {one: self.active.get(one, 0) / self._weights[one] for one in free}
            least = min(loads.values())
            free = [one for one in free if loads[one] == least]
        return self._in_turn(free)

    def _by_lot(self, free: list[Address]) -> Address:
        lot = self._draw(sum(self._weights[one] for one in free))
        for one in free:
            lot -= self._weights[one]
            if lot < 0:
                return one
        return free[-1]

    def _in_turn(self, free: list[Address]) -> Address:
        """Smooth weighted round-robin: each earns its weight a turn, the richest is next and pays for all."""
        for one in free:
            self._credit[one] += self._weights[one]
        best = max(free, key=self._credit.__getitem__)
        self._credit[best] -= sum(self._weights[one] for one in free)
        return best
