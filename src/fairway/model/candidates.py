"""The candidates of one Service port, slice by slice: every endpoint as a backend, with its traits.

    EndpointSlice ──▶ Group     backends and traits, endpoint by endpoint; the pools that were asked for
         │ changes                 │ what did not change is the very same object
         ▼                         ▼
    EndpointSlice ──▶ Group     costs what is different, and a copy

An endpoint that is the very same object as in the slice before is the very same backend.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import count, repeat
from typing import Any

from fairway.model.address import family_of
from fairway.model.limits import is_port, usable
from fairway.model.parts import Part
from fairway.model.topology import READY, SERVING, TERMINATING, Candidate, traits_of
from fairway.model.view import Backend, NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointPort, EndpointSlice
from fairway.objects.ends import Ends, common_ends

Place = tuple[str, int]
"""Address and port."""
PortName = tuple[str, str]
"""A Service port as a slice's ports are told apart: its name, and its protocol."""

_Candidate = tuple[Backend | None, int]
"""None: what is written there cannot be used."""

place_of: Callable[[Backend], Place] = operator.attrgetter("address", "port")


class Group:
    """The candidates of one EndpointSlice for one Service port. Nobody changes one.

    ``some`` are the traits that any of them has. What `chosen` gives is made once.
    """

    __slots__ = ("_at", "_backends", "_doubled", "_hidden", "_made", "_traits", "numbers", "settings", "slice", "some")

    def __init__(self, slice_: EndpointSlice, numbers: tuple[int, ...], settings: NodeSettings) -> None:
        self.slice, self.numbers, self.settings = slice_, numbers, settings
        self._backends: tuple[Backend | None, ...] = ()
        """One for each number of each endpoint, in their order; None for what cannot be used."""
        self._traits: tuple[int, ...] = ()
        self._doubled = False
        """Whether several may have one place, of which only the best counts; or some have none."""
        self._hidden: frozenset[Place] = frozenset()
        """What another slice has better."""
        self.some = 0
        self._made: tuple[tuple[int, Part[Backend]], ...] = ()
        """What was chosen, by trait: most often one, and there may be a Group for each of many Services."""
        self._at: dict[Place, Candidate] | None = None
        """Who counts at each place, hidden or not; made when somebody looks for one."""

    @classmethod
    def of(cls, slice_: EndpointSlice, numbers: tuple[int, ...], settings: NodeSettings, before: Group | None) -> Group:
        """``before`` is that of the same slice and port as it was, if anybody knows it."""
        found = cls(slice_, numbers, settings)
        if before is None or not before._is_like(found):
            found._begin()
            return found
        if before.numbers and before.slice.endpoints is slice_.endpoints:
            found._backends, found._traits, found._doubled = before._backends, before._traits, before._doubled
            found.some, found._made = before.some, before._made
            return found
        found._take(common_ends(before.endpoints, found.endpoints, operator.is_not), before)
        return found

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.slice.endpoints or ()

    def chosen(self, trait: int) -> Part[Backend]:
        """The backends of those that have it, sorted by address as text and port."""
        for known, part in self._made:
            if known == trait:
                return part
        candidates = self if self._doubled or self._hidden else zip(self._backends, self._traits, strict=True)
        chosen = [backend for backend, traits in candidates if traits & trait and backend is not None]
        if len(chosen) > 1:
            chosen.sort(key=place_of)
        found = Part(chosen)
        self._made = (*self._made, (trait, found))
        return found

    def __iter__(self) -> Iterator[Candidate]:
        """Those that count, one for each place."""
        return iter([one for place, one in self._by_place().items() if place not in self._hidden])

    def places(self) -> set[Place]:
        return _places(self._backends)

    def moved_from(self, before: Group) -> tuple[set[Place], set[Place]]:
        """The places that the group of the same slice had before and this one has not; and the other way round."""
        if self._doubled or before._doubled:
            old, new = before.places(), self.places()
        else:
            ends = common_ends(before._backends, self._backends, operator.is_not)
            old, new = (_places(ends.between(one._backends)) for one in (before, self))
        return old - new, new - old

    def find(self, place: Place) -> Candidate:
        """Who counts there; raises KeyError when nobody is."""
        return self._by_place()[place]

    def _by_place(self) -> dict[Place, Candidate]:
        if self._at is None:
            self._at = {}
            for backend, traits in zip(self._backends, self._traits, strict=True):
                if backend is not None:
                    place, one = place_of(backend), (backend, traits)
                    other = self._at.get(place)
                    self._at[place] = one if other is None else max(other, one, key=preference)
        return self._at

    def without(self, hidden: frozenset[Place]) -> Group:
        """The same, but that nobody is at these places."""
        if hidden == self._hidden:
            return self
        found = Group(self.slice, self.numbers, self.settings)
        found._backends, found._traits, found._doubled = self._backends, self._traits, self._doubled
        found._hidden, found._at = hidden, self._at
        found.some = _any_of(traits for _, traits in found)
        return found

    def _is_like(self, other: Group) -> bool:
        """Whether an endpoint means the same in both."""
        one, another = self.slice, other.slice
        same_slice = one.metadata.name == another.metadata.name and one.address_type == another.address_type
        return same_slice and self.numbers == other.numbers and self.settings is other.settings

    def _begin(self) -> None:
        """Read every endpoint: nobody knows of a group before."""
        fresh = list(self._made_of(self.endpoints))
        if fresh:
            self._backends, traits = zip(*fresh, strict=True)
            self._traits = _shared(traits)
            self._note_doubles()

    def _note_doubles(self) -> None:
        self._doubled = len(self._backends) > 1 and len(self.places()) < len(self._backends)
        self.some = _any_of([traits for _, traits in self] if self._doubled else self._traits)

    def _take(self, ends: Ends, before: Group) -> None:
        """What both have at the ends is as before, and so is what was there before in another place."""
        each = len(self.numbers)
        first, last = ends.first * each, len(before._backends) - ends.last * each
        left = list(zip(before._backends[first:last], before._traits[first:last], strict=True))
        fresh = list(self._candidates(ends, before, left) if left else self._made_of(ends.between(self.endpoints)))
        backends, traits = zip(*fresh, strict=True) if fresh else ((), ())
        self._backends = (*before._backends[:first], *backends, *before._backends[last:])
        self._traits = _shared((*before._traits[:first], *traits, *before._traits[last:]))
        if fresh or before._doubled:
            self._note_doubles()
        else:
            self.some = _any_of(self._traits)
        if before._made and not (self._doubled or before._doubled):
            kept = set(map(_identity, left)) & set(map(_identity, fresh))
            gone = [one for one in left if _identity(one) not in kept]
            come = [one for one in fresh if _identity(one) not in kept]
            self._made = tuple([(trait, _changed(part, trait, gone, come)) for trait, part in before._made])

    def _candidates(self, ends: Ends, before: Group, left: Sequence[_Candidate]) -> Iterator[_Candidate]:
        """Of the endpoints at neither end. ``left`` are those of the group before."""
        each = len(self.numbers)
        known = dict(zip(map(id, ends.between(before.endpoints)), count(0, each), strict=False))
        there = {place_of(one): one for one, _ in left if one is not None}
        for endpoint in ends.between(self.endpoints):
            at = known.get(id(endpoint))
            if at is not None:
                yield from left[at : at + each]
                continue
            for backend, traits in self._made_of((endpoint,)):
                same = there.get(place_of(backend)) if backend is not None else None
                yield (same if same == backend else backend), traits

    def _made_of(self, endpoints: Iterable[Endpoint]) -> Iterator[_Candidate]:
        """The inner part runs once for each backend of a cluster: no call in it that need not be."""
        settings, family, name = self.settings, self.slice.address_type, self.slice.metadata.name
        here, numbers = settings.name, self.numbers
        for endpoint in endpoints:
            address = usable(endpoint.addresses[0]) if endpoint.addresses else None
            if address is None or family_of(address) != family:
                yield from repeat((None, 0), len(numbers))
                continue
            node = endpoint.node_name or ""
            local = node == here and node != ""
            traits = traits_of(endpoint, local, settings)
            for number in numbers:
                backend = Backend(
                    address=address,
                    port=number,
                    node=node,
                    local=local,
                    slice=name,
                    behind=endpoint.target_ref,
                )
                yield backend, traits


NOBODY = Group(EndpointSlice(), (), NodeSettings(name=""))
"""Of a slice that is not there."""


def preference(one: Candidate) -> tuple[object, ...]:
    """Who of several at one place counts: a running pod beats a terminating one that had the address before it."""
    backend, traits = one
    better = (not traits & TERMINATING, traits & READY, traits & SERVING)
    return *better, backend.slice, backend.node, backend.target, traits


@lru_cache(maxsize=4096)
def _shared(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The first of those equal to it: most endpoints have the same traits, most slices the same port."""
    return numbers


def _places(backends: Iterable[Backend | None]) -> set[Place]:
    return {place_of(one) for one in backends if one is not None}


def _any_of(traits: Iterable[int]) -> int:
    return reduce(operator.or_, set(traits), 0)


def _identity(one: tuple[Any, int]) -> tuple[int, int]:
    return id(one[0]), one[1]


def _changed(
    part: Part[Backend],
    trait: int,
    gone: Iterable[_Candidate],
    come: Iterable[_Candidate],
) -> Part[Backend]:
    """The backends with a trait, after some candidates have left and others have come."""
    left = {id(one) for one, traits in gone if traits & trait}
    new = [one for one, traits in come if traits & trait and one is not None]
    if not left and not new:
        return part
    kept = [one for one in part if id(one) not in left] if left else list(part)
    return Part(sorted(kept + new, key=place_of) if new else kept)


_FEW = 16
"""Ports of a slice that are quickly looked through for each port of its Service."""


class PortNumbers:
    """The numbers that slices have for Service ports: one for each, unless somebody wrote the slice by hand.

    A slice may have 20,000 ports, and its Service as many: looking for each among all would hold up everybody else.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[Sequence[EndpointPort], dict[PortName, dict[int, None]]]] = {}
        """Of long lists of ports, by their identities: slices that have the same mostly share it."""

    def forget(self) -> None:
        """The slices may be others now."""
        if self._known:
            self._known.clear()

    def of(self, slice_: EndpointSlice, port: PortName) -> tuple[int, ...]:
        ports = slice_.ports or ()
        if len(ports) <= _FEW:
            return _shared(tuple(dict.fromkeys(number for named, number in _named(ports) if named == port)))
        known = self._known.get(id(ports))
        if known is None:
            known = self._known[id(ports)] = ports, _by_name(ports)
        return _shared(tuple(known[1].get(port, ())))


def _by_name(ports: Iterable[EndpointPort]) -> dict[PortName, dict[int, None]]:
    found: dict[PortName, dict[int, None]] = {}
    for named, number in _named(ports):
        found.setdefault(named, {})[number] = None
    return found


def _named(ports: Iterable[EndpointPort]) -> Iterator[tuple[PortName, int]]:
    """Those that can be used."""
    for one in ports:
        if one.name is not None and one.port and is_port(one.port):
            yield (one.name, one.protocol), one.port
