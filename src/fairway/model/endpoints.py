"""The endpoints of one Service, taken over from its EndpointSlices one slice at a time.

    slice web-1 ──▶ Group ─┐
    slice web-2 ──▶ Group ─┼─▶ candidates of a Service port, in the order of the slices' names
    slice web-3 ──▶ Group ─┘

Who keeps an `Endpoints` from one change to the next pays for what changed in the slice that did. What it says depends
on the slices there are now, never on the order in which they came.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, reduce
from itertools import chain
from typing import NamedTuple

from fairway.model.candidates import NOBODY, Group, Place, PortName, PortNumbers, preference
from fairway.model.parts import Parts
from fairway.model.topology import TERMINATING, Candidate, Candidates
from fairway.model.view import Backend, NodeSettings
from fairway.model.weights import slice_weight
from fairway.objects.endpointslice import WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.service import HEADLESS_LABEL

_NO_WEIGHTS: dict[str, int] = {}


class PortAt(NamedTuple):
    """A Service port in one family, as its frontends and the slices call it."""

    family: str
    name: str
    protocol: str

    @property
    def in_slices(self) -> PortName:
        return self.name, self.protocol


class Endpoints:
    """Of the slices that are put, those that count: they name a Service, and are not only for headless ones."""

    __slots__ = ("_numbers", "_ports", "_size", "_slices", "weights")

    def __init__(self, slices: Iterable[EndpointSlice] = ()) -> None:
        self._slices: dict[str, EndpointSlice] = {}
        self._size = 0
        self._ports: dict[PortAt, Group | _Port] = {}
        self._numbers = PortNumbers()
        self.weights = _NO_WEIGHTS
        """What slices say of all of their endpoints, by the name of the slice."""
        for one in slices:
            self.put(one.metadata.name, one)

    @property
    def slices(self) -> Collection[EndpointSlice]:
        return self._slices.values()

    def put(self, name: str, slice_: EndpointSlice | None) -> EndpointSlice | None:
        """A slice is there, or has changed, or (None) is gone. Returns what it was before, if that counted."""
        now = slice_ if slice_ is not None and _counts(slice_) else None
        before = self._slices.pop(name, None)
        if now is not None:
            self._slices[name] = now
        self._size += len((now and now.endpoints) or ()) - len((before and before.endpoints) or ())
        self._weigh(name, now)
        self._numbers.forget()
        for port in self._ports.values():
            if isinstance(port, _Port):
                port.stale.add(name)
        return before

    def _weigh(self, name: str, slice_: EndpointSlice | None) -> None:
        said = slice_.metadata.annotations if slice_ is not None else None
        weight = slice_weight(slice_) if slice_ is not None and said and WEIGHT_ANNOTATION in said else None
        if weight is not None:
            self.weights = {**self.weights, name: weight}
        elif name in self.weights:
            self.weights = {other: known for other, known in self.weights.items() if other != name}

    @property
    def size(self) -> int:
        """Endpoints in all slices, counted as they are written."""
        return self._size

    def contradictions(self) -> Iterator[tuple[Backend, Backend]]:
        """Two endpoints with one address and port, neither about to go, that are not the same: the used one first.

        Of the ports that `at` was asked for.
        """
        ports = self._ports.values()
        return chain.from_iterable([port.contradictions() for port in ports if isinstance(port, _Port)])

    def at(self, port: PortAt, settings: NodeSettings) -> Candidates:
        """Every endpoint of one Service port, once for each address and port.

        Of an address that stands in several slices the better endpoint counts: a running pod beats a terminating one
        that had the address before it. The reference lets the last one it happens to read win among equals; here the
        order of slices and endpoints never decides.
        """
        known = self._ports.get(port)
        if isinstance(known, _Port) and known.settings is settings:
            known.follow(self._slices, self._numbers)
            return known
        there = [one for one in self._slices.values() if one.address_type == port.family]
        if len(there) > 1:
            several = self._ports[port] = _Port(port, settings, self._slices)
            several.follow(self._slices, self._numbers)
            return several
        for one in there:  # nearly every Service has one
            before = known if isinstance(known, Group) else None
            if before is not None and before.slice is one and before.settings is settings:
                return before
            alone = self._ports[port] = Group.of(one, self._numbers.of(one, port.in_slices), settings, before)
            return alone
        self._ports.pop(port, None)
        return NOBODY

    def keep_only(self, ports: Collection[PortAt]) -> None:
        """Nobody will ask for others any more."""
        for gone in [one for one in self._ports if one not in ports]:
            del self._ports[gone]


class _Port:
    """One Service port in one family, of several slices."""

    __slots__ = ("_groups", "_holders", "_names", "_ordered", "_pools", "_port", "_shared", "settings", "some", "stale")

    def __init__(self, port: PortAt, settings: NodeSettings, slices: Iterable[str]) -> None:
        self._port, self.settings = port, settings
        self.stale = set(slices)
        self.some = 0
        self._names: list[str] = []
        self._ordered: list[Group] = []
        """The groups by the names of their slices, which `_names` has in the same order: what no other has better."""
        self._groups: dict[str, Group] = {}
        """The whole ones."""
        self._holders: dict[Place, tuple[str, ...]] = {}
        self._shared: dict[Place, None] = {}
        """Places that stand in several slices."""
        self._pools: dict[int, Parts[Backend]] = {}
        """What was chosen, by trait: a part for each group."""

    def contradictions(self) -> Iterator[tuple[Backend, Backend]]:
        for place in self._shared:
            used, _ = self._best(place)
            for name in self._holders[place]:
                other, traits = self._groups[name].find(place)
                if not traits & TERMINATING and (other.node, other.target) != (used.node, used.target):
                    yield used, other

    def chosen(self, trait: int) -> Parts[Backend]:
        """The backends of those that have it, by slice."""
        found = self._pools.get(trait)
        if found is None:
            found = self._pools[trait] = Parts([one.chosen(trait) for one in self._ordered])
        return found

    def follow(self, slices: Mapping[str, EndpointSlice], numbers: PortNumbers) -> None:
        """Take over the slices that changed."""
        if not self.stale:
            return
        stale, self.stale = self.stale, set()
        affected = set[str]()
        for name in stale:
            affected |= self._take(name, slices.get(name), numbers)
        best = cache(self._best)  # many may stand at the same places
        for name in affected:
            self._settle(name, best)

    def _take(self, name: str, slice_: EndpointSlice | None, numbers: PortNumbers) -> set[str]:
        """Whose groups are different now, because this slice is."""
        old, new = self._groups.pop(name, NOBODY), NOBODY
        if slice_ is not None and slice_.address_type == self._port.family:
            new = Group.of(slice_, numbers.of(slice_, self._port.in_slices), self.settings, old)
            self._groups[name] = new
        # Whoever else is at a place of the slice may have become the better one there.
        affected = {name, *chain.from_iterable(self._holders[place] for place in self._common(old))}
        gone, come = new.moved_from(old)
        for place in gone:
            affected.update(self._leave(place, name))
        alone = (name,)  # one for all of its places: there may be a thousand
        for place in come:
            affected.update(self._enter(place, alone))
        return affected

    def _common(self, group: Group) -> list[Place]:
        """The places of a group that stand in other slices, too."""
        return [place for place in group.places() if place in self._shared] if self._shared else []

    def _leave(self, place: Place, name: str) -> tuple[str, ...]:
        """Says who is left there."""
        self._shared.pop(place, None)
        left = tuple([one for one in self._holders.pop(place) if one != name])
        if left:
            self._holders[place] = left
        if len(left) > 1:
            self._shared[place] = None
        return left

    def _enter(self, place: Place, alone: tuple[str]) -> tuple[str, ...]:
        """Says who was there."""
        holders = self._holders.get(place, ())
        self._holders[place] = holders + alone if holders else alone
        if holders:
            self._shared[place] = None
        return holders

    def _settle(self, name: str, best: Callable[[Place], Candidate]) -> None:
        """Of a slice, what no other slice has better."""
        group = self._groups.get(name)
        if group is not None:
            whole, common = group, self._common(group)
            group = whole.without(frozenset(place for place in common if best(place) != whole.find(place)))
        at = bisect_left(self._names, name)
        there = at < len(self._names) and self._names[at] == name
        if there and group is not None:
            self._replace(at, group)
        elif group is not None:
            self._pools.clear()
            self._names.insert(at, name)
            self._ordered.insert(at, group)
            self.some |= group.some
        elif there:
            self._pools.clear()
            del self._names[at], self._ordered[at]
            self._count()

    def _replace(self, at: int, group: Group) -> None:
        before, self._ordered[at] = self._ordered[at], group
        for trait, pool in self._pools.items():
            if (part := group.chosen(trait)) is not pool.part(at):
                self._pools[trait] = pool.replaced(at, part)
        if before.some != group.some:
            self._count()

    def _count(self) -> None:
        self.some = reduce(operator.or_, {one.some for one in self._ordered}, 0)

    def _best(self, place: Place) -> Candidate:
        return max((self._groups[name].find(place) for name in self._holders[place]), key=preference)


def _counts(slice_: EndpointSlice) -> bool:
    return bool(slice_.service_name) and HEADLESS_LABEL not in (slice_.metadata.labels or ())
