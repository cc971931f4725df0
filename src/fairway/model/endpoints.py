"""The endpoints of one Service, taken over from its EndpointSlices one slice at a time.

    slice web-1 ──▶ group ─┐
    slice web-2 ──▶ group ─┼─▶ groups of a Service port, in the order of the slices' names
    slice web-3 ──▶ group ─┘

Who keeps an `Endpoints` from one change to the next pays for the slice that changed. What it says depends on the slices
there are now, never on the order in which they came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from fairway.model.address import family_of
from fairway.model.limits import is_port, usable
from fairway.model.topology import READY, SERVING, TERMINATING, Candidate, Group, traits_of
from fairway.model.view import Backend, NodeSettings
from fairway.model.weights import slice_weight
from fairway.objects.endpointslice import WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.service import HEADLESS_LABEL, ServicePort

_Place = tuple[str, int]
"""Address and port."""


class Endpoints:
    """Of the slices that are put, those that count: they name a Service, and are not only for headless ones."""

    __slots__ = ("_ports", "_size", "_slices", "weights")

    def __init__(self, slices: Iterable[EndpointSlice] = ()) -> None:
        self._slices = {one.metadata.name: one for one in slices if _counts(one)}
        self._size = sum([len(one.endpoints or ()) for one in self._slices.values()])
        self._ports: dict[tuple[str, str, str], _Port] = {}
        self.weights: dict[str, int] = {}
        """What slices say of all of their endpoints, by the name of the slice."""
        for name, one in self._slices.items():
            self._weigh(name, one)

    @property
    def slices(self) -> Collection[EndpointSlice]:
        return self._slices.values()

    def put(self, name: str, slice_: EndpointSlice | None) -> None:
        """A slice is there, or has changed, or (None) is gone."""
        before = self._slices.pop(name, None)
        self.weights.pop(name, None)
        self._size -= len((before and before.endpoints) or ())
        if slice_ is not None and _counts(slice_):
            self._slices[name] = slice_
            self._size += len(slice_.endpoints or ())
            self._weigh(name, slice_)
        for port in self._ports.values():
            port.stale.add(name)

    def _weigh(self, name: str, slice_: EndpointSlice) -> None:
        said = slice_.metadata.annotations
        if said and WEIGHT_ANNOTATION in said and (weight := slice_weight(slice_)) is not None:
            self.weights[name] = weight

    @property
    def size(self) -> int:
        """Endpoints in all slices, counted as they are written."""
        return self._size

    def contradictions(self) -> Iterator[tuple[Backend, Backend]]:
        """Two endpoints with one address and port, neither about to go, that are not the same: the used one first.

        Of the ports that `groups` was asked for.
        """
        return chain.from_iterable([port.contradictions() for port in self._ports.values()])

    def groups(self, family: str, port: ServicePort, settings: NodeSettings) -> list[Group]:
        """Every endpoint of one Service port, once for each address and port.

        Of an address that stands in several slices the better endpoint counts: a running pod beats a terminating one
        that had the address before it. The reference lets the last one it happens to read win among equals; here the
        order of slices and endpoints never decides.
        """
        at = (family, port.name, port.protocol)
        known = self._ports.get(at)
        if known is None and len(self._slices) <= 1:
            # The usual case: one slice, and nobody will ask again.
            found = [_candidates(one, family, port, settings) for one in self._slices.values()]
            return [_grouped(one) for one in found if one]
        if known is None or known.settings is not settings:
            known = self._ports[at] = _Port(family, port, settings, self._slices)
        return known.groups(self._slices)


class _Port:
    """One Service port in one family."""

    def __init__(self, family: str, port: ServicePort, settings: NodeSettings, slices: Iterable[str]) -> None:
        self.family, self.port, self.settings = family, port, settings
        self.stale = set(slices)
        self._names: list[str] = []
        self._ordered: list[Group] = []
        """The groups by the names of their slices, which `_names` has in the same order."""
        self._found: dict[str, dict[_Place, Candidate]] = {}
        self._holders: dict[_Place, tuple[str, ...]] = {}
        self._shared: dict[_Place, None] = {}
        """Places that stand in several slices."""

    def contradictions(self) -> Iterator[tuple[Backend, Backend]]:
        for place in self._shared:
            used, _ = self._best(place)
            for name in self._holders[place]:
                other, traits = self._found[name][place]
                if not traits & TERMINATING and (other.node, other.target) != (used.node, used.target):
                    yield used, other

    def groups(self, slices: dict[str, EndpointSlice]) -> list[Group]:
        if self.stale:
            stale, self.stale = self.stale, set()
            affected = set[str]()
            for name in stale:
                affected |= self._take(name, slices.get(name))
            for name in affected:
                self._group(name)
        return self._ordered

    def _take(self, name: str, slice_: EndpointSlice | None) -> set[str]:
        """Whose groups are different now, because this slice is."""
        old = self._found.pop(name, {})
        new = _candidates(slice_, self.family, self.port, self.settings) if slice_ is not None else {}
        affected = {name}
        for place in old.keys() - new.keys():
            self._shared.pop(place, None)
            left = tuple(one for one in self._holders.pop(place) if one != name)
            if left:
                self._holders[place] = left
                if len(left) > 1:
                    self._shared[place] = None
                affected.update(left)
        for place in new:
            holders = self._holders.get(place, ())
            if name not in holders:
                self._holders[place] = (*holders, name)
                if holders:
                    self._shared[place] = None
            if len(holders) > 1 or (holders and holders[0] != name):
                affected.update(holders)
        if new:
            self._found[name] = new
        return affected

    def _group(self, name: str) -> None:
        """Make the group of a slice anew: the endpoints of it that no other slice has, or has better."""
        found = self._found.get(name, {})
        best = {
            place: one for place, one in found.items() if len(self._holders[place]) == 1 or self._best(place) is one
        }
        at = bisect_left(self._names, name)
        there = at < len(self._names) and self._names[at] == name
        if best:
            if not there:
                self._names.insert(at, name)
            self._ordered[at : at + there] = [_grouped(best)]
        elif there:
            del self._ordered[at], self._names[at]

    def _best(self, place: _Place) -> Candidate:
        return max((self._found[name][place] for name in self._holders[place]), key=_preference)


def _candidates(
    slice_: EndpointSlice, family: str, port: ServicePort, settings: NodeSettings
) -> dict[_Place, Candidate]:
    """The inner part runs once for each backend of a cluster: no call in it that need not be."""
    found: dict[_Place, Candidate] = {}
    if slice_.address_type != family:
        return found
    name, here = slice_.metadata.name, settings.name
    for number in _numbers(slice_, port):
        for endpoint in slice_.endpoints or ():
            address = usable(endpoint.addresses[0]) if endpoint.addresses else None
            if address is None or family_of(address) != family:
                continue
            node, target = endpoint.node_name or "", endpoint.target_ref
            local = node == here and node != ""
            backend = Backend(
                address=address,
                port=number,
                node=node,
                local=local,
                slice=name,
                target=f"{target.kind} {target.namespace}/{target.name}" if target else "",
            )
            candidate, place = (backend, traits_of(endpoint, local, settings)), (address, number)
            found[place] = max(found[place], candidate, key=_preference) if place in found else candidate
    return found


def _counts(slice_: EndpointSlice) -> bool:
    return bool(slice_.service_name) and HEADLESS_LABEL not in (slice_.metadata.labels or ())


def _grouped(candidates: dict[_Place, Candidate]) -> Group:
    return Group([candidates[place] for place in sorted(candidates)])


def _preference(one: Candidate) -> tuple[object, ...]:
    backend, traits = one
    better = (not traits & TERMINATING, traits & READY, traits & SERVING)
    return *better, backend.slice, backend.node, backend.target, traits


def _numbers(slice_: EndpointSlice, port: ServicePort) -> Iterator[int]:
    for one in slice_.ports or ():
        if one.name is not None and one.name == port.name and one.protocol == port.protocol and is_port(one.port or 0):
            yield one.port or 0
