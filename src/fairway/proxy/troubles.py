"""The problems of every Service: kept up to date with the cache, a line each in `fairway status`, an Event each.

Service object ──┐
its slices ──────┼──▶ problems of the Service ──▶ changed since somebody last took them
its endpoints ───┤
its rivals ──────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairway.model.endpoints import Endpoints
from fairway.model.problems import Problem, contested, contradictions, service_problems, slice_problems, too_many
from fairway.model.view import Frontend, FrontendKey, Key
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

_Told = tuple[Problem, ...]


class Troubles:
    """What is wrong, by Service. Objects are looked into when somebody asks, which is not on a change's way."""

    def __init__(self) -> None:
        self._new_services: dict[Key, Service | None] = {}
        self._new_slices: dict[tuple[Key, Key], EndpointSlice | None] = {}
        self._own: dict[Key, _Told] = {}
        self._slices: dict[Key, dict[Key, _Told]] = {}
        self._endpoints: dict[Key, _Told] = {}
        self._lost: dict[Key, dict[FrontendKey, Problem]] = {}
        self._changed: dict[Key, None] = {}

    def put_service(self, key: Key, service: Service | None) -> None:
        """A Service is there, or has changed, or (None) is gone."""
        self._new_services[key] = service

    def put_slice(self, service: Key, key: Key, slice_: EndpointSlice | None) -> None:
        """One of its slices is there, or has changed, or (None) is gone, or is another Service's now."""
        self._new_slices[service, key] = slice_

    @property
    def waiting(self) -> bool:
        """Whether there are objects that nobody has looked into yet."""
        return bool(self._new_services or self._new_slices)

    def _look(self, most: int | None = None) -> None:
        """The newest first."""
        for _ in range(len(self._new_services))[:most]:
            name, service = self._new_services.popitem()
            self._put(self._own, name, service_problems(service) if service is not None else ())
            if service is None:
                self._put(self._endpoints, name, ())
        for _ in range(len(self._new_slices))[:most]:
            (owner, key), slice_ = self._new_slices.popitem()
            self._put_slice(owner, key, slice_problems(owner, slice_) if slice_ is not None else ())

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
        self._changed[service] = None

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
        self._changed[service] = None

    def _of(self, service: Key) -> _Told:
        """All that is known to be wrong with one Service; usually nothing."""
        slices = self._slices.get(service, {})
        return (
            *self._own.get(service, ()),
            *(problem for key in sorted(slices) for problem in slices[key]),
            *self._endpoints.get(service, ()),
            *self._lost.get(service, {}).values(),
        )

    def all(self) -> Mapping[Key, Sequence[Problem]]:
        """The Services with anything wrong, by name."""
        self._look()
        keys = {*self._own, *self._slices, *self._endpoints, *self._lost}
        return {key: self._of(key) for key in sorted(keys)}

    def take(self, most: int | None = None) -> dict[Key, _Told]:
        """The Services whose problems are not what they were at the last call; those that have none any more, too.

        So many Services, and so many slices, are looked into at ``most``: see `waiting`.
        """
        self._look(most)
        changed, self._changed = self._changed, {}
        return {key: self._of(key) for key in changed}

    def _put(self, into: dict[Key, _Told], key: Key, found: _Told) -> None:
        if into.get(key, ()) == found:
            return
        if found:
            into[key] = found
        else:
            del into[key]
        self._changed[key] = None
