"""The problems of every Service: kept up to date with the cache, a line each in `fairway status`, an Event each.

Service object ──┐
its slices ──────┼──▶ problems of the Service ──▶ changed: somebody compares them with those before
its endpoints ───┤
its rivals ──────┘
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from fairway.model.endpoints import Endpoints
from fairway.model.problems import Problem, contested, contradictions, service_problems, slice_problems, too_many
from fairway.model.view import Frontend, FrontendKey, Key
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

_Told = tuple[Problem, ...]


class _Slice(NamedTuple):
    """One to look into; ``sound`` is the last one before it that was, if nothing was wrong with it."""

    slice_: EndpointSlice | None
    sound: EndpointSlice | None


class Troubles:
    """What is wrong, by Service. Objects are looked into when somebody asks, which is not on a change's way."""

    def __init__(self) -> None:
        self._new_services: OrderedDict[Key, Service | None] = OrderedDict()
        self._new_slices: OrderedDict[tuple[Key, Key], _Slice] = OrderedDict()
        self._newest = False
        self._own: dict[Key, _Told] = {}
        self._slices: dict[Key, dict[Key, _Told]] = {}
        self._endpoints: dict[Key, _Told] = {}
        self._lost: dict[Key, dict[FrontendKey, Problem]] = {}
        self.changed: dict[Key, None] = {}
        """Services of which something else may be wrong than before; whoever looks at one takes it away."""

    def put_service(self, key: Key, service: Service | None) -> None:
        """A Service is there, or has changed, or (None) is gone."""
        self._new_services[key] = service

    def put_slice(
        self, service: Key, key: Key, slice_: EndpointSlice | None, before: EndpointSlice | None = None
    ) -> None:
        """One of its slices is there, or has changed, or (None) is gone, or is another Service's now.

        ``before`` is what it was for this Service until now.
        """
        if (waiting := self._new_slices.get((service, key))) is not None:
            sound = waiting.sound
        else:
            sound = before if key not in self._slices.get(service, ()) else None
        self._new_slices[service, key] = _Slice(slice_, sound)

    @property
    def waiting(self) -> bool:
        """Whether there are objects that nobody has looked into yet."""
        return bool(self._new_services or self._new_slices)

    def look(self) -> None:
        """Look into one Service and one slice, if any wait.

        The newest and the one that has waited longest take turns: a change is told soon while ten thousand objects of
        a first load wait, and these are not forgotten while there is one change after the other.
        """
        self._newest = not self._newest
        if self._new_services:
            name, service = self._new_services.popitem(last=self._newest)
            self._put(self._own, name, service_problems(service) if service is not None else ())
            if service is None:
                self._put(self._endpoints, name, ())
        if self._new_slices:
            (owner, key), (slice_, sound) = self._new_slices.popitem(last=self._newest)
            self._put_slice(owner, key, slice_problems(owner, slice_, sound) if slice_ is not None else ())

    def _put_slice(self, service: Key, key: Key, found: _Told) -> None:
        slices = self._slices.get(service, {})
        if slices.get(key, ()) == found:
            return
        if found:
            self._slices.setdefault(service, {})[key] = found
        else:
            del slices[key]
            if not slices:
                del self._slices[service]
        self.changed[service] = None

    def put_endpoints(self, key: Key, service: Service, endpoints: Endpoints) -> None:
        """Its slices taken together, after its frontends were resolved from them."""
        found = contradictions(key, endpoints) + too_many(service, endpoints.size)
        if found or key in self._endpoints:
            self._put(self._endpoints, key, found)

    def put_rival(self, frontend: Frontend | None, key: FrontendKey, service: Key, holder: Key | None) -> None:
        """A Service asks for a frontend that another one has, or (None) does so no more."""
        lost = self._lost.get(service, {})
        if frontend is None or holder is None:
            if lost.pop(key, None) is None:
                return
            if not lost:
                del self._lost[service]
        else:
            problem = contested(frontend, holder)
            if lost.get(key) == problem:
                return
            self._lost.setdefault(service, {})[key] = problem
        self.changed[service] = None

    def services(self) -> Collection[Key]:
        """Those with anything wrong; whatever waits is looked into first."""
        while self.waiting:
            self.look()
        return {*self._own, *self._slices, *self._endpoints, *self._lost}

    def of(self, service: Key) -> Iterator[Problem]:
        """All that is known to be wrong with one Service; usually nothing."""
        yield from self._own.get(service, ())
        slices = self._slices.get(service, {})
        for key in sorted(slices):
            yield from slices[key]
        yield from self._endpoints.get(service, ())
        yield from self._lost.get(service, {}).values()

    def _put(self, into: dict[Key, _Told], key: Key, found: _Told) -> None:
        if into.get(key, ()) == found:
            return
        if found:
            into[key] = found
        else:
            del into[key]
        self.changed[key] = None
