"""The problems of every Service: kept up to date with the cache, a line each in `fairway status`, an Event each.

Service object ──┐
its slices ──────┼──▶ problems of the Service ──▶ changed: somebody compares them with those before
its endpoints ───┤
its rivals ──────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

from fairway.model.endpoints import Endpoints
from fairway.model.problems import Problem, contested, contradictions, service_problems, slice_problems, too_many
from fairway.model.view import Frontend, FrontendKey, Key
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

NameT = TypeVar("NameT", bound=Hashable)
ObjectT = TypeVar("ObjectT")
_Told = tuple[Problem, ...]


class _Waiting(Generic[NameT, ObjectT]):
    """Objects by name, each once. The newest and the one that waits longest take turns: a change is told soon while
    ten thousand objects of a first load wait, and these are not forgotten while there is one change after the other.
    """

    def __init__(self) -> None:
        self._objects: dict[NameT, ObjectT] = {}
        self._order: deque[NameT] = deque()
        self._newest = False

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def put(self, name: NameT, one: ObjectT) -> None:
        """It waits, in the place of one of that name, if any does."""
        if name not in self._objects:
            self._order.append(name)
        self._objects[name] = one

    def take(self) -> tuple[NameT, ObjectT]:
        """The one whose turn it is."""
        self._newest = not self._newest
        name = self._order.pop() if self._newest else self._order.popleft()
        return name, self._objects.pop(name)


class Troubles:
    """What is wrong, by Service. Objects are looked into when somebody asks, which is not on a change's way."""

    def __init__(self) -> None:
        self._new_services: _Waiting[Key, Service | None] = _Waiting()
        self._new_slices: _Waiting[tuple[Key, Key], EndpointSlice | None] = _Waiting()
        self._sound: dict[tuple[Key, Key], EndpointSlice] = {}
        """Of slices that wait, what was looked into last, if nothing was wrong with it."""
        self._own: dict[Key, _Told] = {}
        self._slices: dict[Key, dict[Key, _Told]] = {}
        self._endpoints: dict[Key, _Told] = {}
        self._lost: dict[Key, dict[FrontendKey, Problem]] = {}
        self.changed: dict[Key, None] = {}
        """Services of which something else may be wrong than before; whoever looks at one takes it away."""

    def put_service(self, key: Key, service: Service | None) -> None:
        """A Service is there, or has changed, or (None) is gone."""
        self._new_services.put(key, service)

    def put_slice(
        self, service: Key, key: Key, slice_: EndpointSlice | None, before: EndpointSlice | None = None
    ) -> None:
        """One of its slices is there, or has changed, or (None) is gone, or is another Service's now.

        ``before`` is what it was for this Service until now.
        """
        name = service, key
        if before is not None and name not in self._new_slices and key not in self._slices.get(service, ()):
            self._sound[name] = before
        self._new_slices.put(name, slice_)

    @property
    def waiting(self) -> bool:
        """Whether there are objects that nobody has looked into yet."""
        return bool(self._new_services or self._new_slices)

    def look(self) -> None:
        """Look into one Service and one slice, if any wait."""
        if self._new_services:
            key, service = self._new_services.take()
            self._put(self._own, key, service_problems(service) if service is not None else ())
            if service is None:
                self._put(self._endpoints, key, ())
        if self._new_slices:
            name, slice_ = self._new_slices.take()
            owner, key = name
            sound = self._sound.pop(name, None)
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
        found = too_many(service, endpoints.size)
        if len(endpoints.slices) > 1:
            found = contradictions(key, endpoints) + found
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
