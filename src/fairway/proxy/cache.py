"""Objects to dirty frontends: what this node should do, kept up to date one Service at a time.

    Service ───────┐                        ┌─ held: the frontends each Service asks for
    EndpointSlice ─┼─▶ dirty Services ─take─┼─ rivals: who asks for a frontend that several ask for
    NodeSettings ──┘                        └─ frontends: the first claimant's, which the kernel shall hold

An event names one Service; nothing on its way looks at another one, unless both claim the same frontend.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from fairway.model.endpoints import Endpoints
from fairway.model.relaying import kept
from fairway.model.resolve import cuts_connections, filled, frontends_of, ports_of, resolve
from fairway.model.view import ActionKind, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.service import WEIGHTS_ANNOTATION, Service
from fairway.proxy.checks import HealthCheck, health_check
from fairway.proxy.flows import Serving, is_uneven, lingering_endpoints, lingering_of, serving_endpoints
from fairway.proxy.troubles import Troubles

_NO_ENDPOINTS = Endpoints()


class Cause(NamedTuple):
    """The event of an object that is on its way to the kernel.

    ``seen`` is the reading of a monotonic clock when the event arrived, in seconds; ``trigger`` is the moment at which
    a pod changed, as the EndpointSlice says it (RFC 3339), or empty.
    """

    kind: str
    key: Key
    resource_version: str
    seen: float
    trigger: str = ""


@dataclass
class Batch:
    """What changed since the kernel last followed.

    ``before`` holds the old frontend (None: there was none) of every key that changed. ``rebased`` says that the
    NodeSettings changed too, so that the constant part of a Program is not the same.
    """

    before: dict[FrontendKey, Frontend | None] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    rebased: bool = False
    checks: dict[Key, HealthCheck | None] = field(default_factory=dict)
    """Health-check ports that are new or say something else, and (None) those that are gone."""
    deserted: set[FrontendKey] = field(default_factory=set)
    """Those that forget, and whose Service lost a backend that had still served its old clients."""

    def __bool__(self) -> bool:
        return bool(self.before or self.causes or self.rebased)

    def add(self, later: Batch) -> None:
        """Merge what changed after this one: the oldest *before* of a frontend stays."""
        for key, frontend in later.before.items():
            self.before.setdefault(key, frontend)
        self.causes += later.causes
        self.rebased = self.rebased or later.rebased
        self.deserted |= later.deserted
        self.checks |= later.checks


class Cache:
    """Services, their EndpointSlices and the node's settings, and the frontends that follow from them.

    ``frontends`` always equals what `fairway.model.resolve.resolve` would say from scratch about the objects as of
    the last `take`.
    """

    def __init__(self, settings: NodeSettings, own: Frontend | None = None) -> None:
        """``own`` is a frontend of the proxy's own, which no Service can have."""
        self.settings = settings
        self._services: dict[Key, Service] = {}
        self._endpoints: dict[Key, Endpoints] = {}
        self._service_of: dict[Key, Key] = {}
        self._held: dict[Key, dict[FrontendKey, Frontend]] = {}
        self._rivals: dict[FrontendKey, list[Key]] = {}
        """By namespace and name, those that ask for the same frontend; the first has it. Nothing for one alone."""
        self._frontends: dict[FrontendKey, Frontend] = {}
        self._lingering: dict[Key, frozenset[Serving]] = {}
        self._even: dict[Key, EndpointSlice] = {}
        self._checks: dict[Key, HealthCheck] = {}
        self.troubles = Troubles()
        # Not a dict: from its beginning that is as long to walk through as it ever was, however little is left in it.
        self._dirty: OrderedDict[Key, None] = OrderedDict()
        self._listening: set[Key] = set()
        """Those of the dirty whose frontends are of the Service as it is, so that only their backends may be others."""
        self._causes: list[Cause] = []
        self._rebased = False
        self._own = {own.key: own} if own is not None else {}
        if own is not None:
            self._held[own.service] = {own.key: own}
            self._frontends[own.key] = own

    @property
    def view(self) -> NodeView:
        """What the node should do as of the last `take`; shares its frontends with the cache."""
        return NodeView(settings=self.settings, frontends=self._frontends)

    def view_if(self, *, relays: bool) -> NodeView:
        """What Services would have of the node if it relayed all of them, or not: a value of its own, made anew."""
        settings = msgspec.structs.replace(self.settings, relays=relays)
        if settings == self.settings:
            frontends = {key: one for key, one in self._frontends.items() if key not in self._own}
        else:
            slices = {key: some.slices for key, some in self._endpoints.items()}
            frontends = resolve(self._services.values(), slices, settings).frontends
        return NodeView(settings=settings, frontends=frontends)

    @property
    def frontends(self) -> Mapping[FrontendKey, Frontend]:
        return self._frontends

    def frontends_of(self, service: Key) -> Iterator[Frontend]:
        """Those that are this Service's, and not another one's that asks for them too."""
        for key in self._held.get(service, ()):
            if (found := self._frontends.get(key)) is not None and found.service == service:
                yield found

    @property
    def services(self) -> int:
        return len(self._services)

    def service(self, key: Key) -> Service | None:
        """The object of that name, as it was last told."""
        return self._services.get(key)

    @property
    def slices(self) -> int:
        return len(self._service_of)

    @property
    def dirty(self) -> int:
        """How many Services `take` would look at; at least one when the node's settings changed."""
        return len(self._dirty) or self._rebased

    def put_service(self, key: Key, service: Service | None, cause: Cause) -> None:
        """A Service is there, or has changed, or (None) is gone.

        What it asks of the relay in words that mean nothing stays as it was.
        """
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = kept(service, self._services.get(key))
        self.troubles.put_service(key, service)
        self._dirty[key] = None
        self._listening.discard(key)
        self._causes.append(cause)

    def put_slice(self, key: Key, slice_: EndpointSlice | None, cause: Cause) -> bool:
        """An EndpointSlice is there, or has changed, perhaps its Service too, or (None) is gone.

        Says whether it belongs, or belonged, to a Service at all.
        """
        owner = Key(key.namespace, slice_.service_name) if slice_ is not None and slice_.service_name else None
        before = self._service_of.pop(key, None)
        if before is not None and before != owner:
            self._put_slice_of(before, key, None)
        if owner is not None and slice_ is not None:
            self._service_of[key] = owner
            self._put_slice_of(owner, key, slice_)
        if before is None and owner is None:
            return False
        self._causes.append(cause)
        return True

    def _put_slice_of(self, service: Key, key: Key, slice_: EndpointSlice | None) -> None:
        endpoints = self._endpoints.get(service)
        if endpoints is None:
            endpoints = self._endpoints[service] = Endpoints()
        before = endpoints.put(key.name, slice_)
        if slice_ is None:
            self._even.pop(key, None)
            if not endpoints.slices:
                del self._endpoints[service]
        self.troubles.put_slice(service, key, slice_, before)
        if service not in self._dirty:
            self._dirty[service] = None
            self._listening.add(service)

    def put_settings(self, settings: NodeSettings) -> bool:
        """What the node is has changed: every Service is looked at again. Says whether anything is different."""
        if settings == self.settings:
            return False
        self.settings = settings
        self._rebased = True
        self._dirty.update(dict.fromkeys(self._services))
        self._listening.clear()
        return True

    def take(self, most: int | None = None) -> Batch:
        """Resolve what is dirty, so many Services at ``most``; the result says which frontends are different now."""
        batch = Batch(causes=self._causes, rebased=self._rebased)
        self._causes, self._rebased = [], False
        for _ in range(len(self._dirty) if most is None else min(most, len(self._dirty))):
            key, _ = self._dirty.popitem(last=False)
            self._settle(key, batch)
        batch.before = {key: old for key, old in batch.before.items() if old != self._frontends.get(key)}
        return batch

    def lingering(self, frontend: Frontend) -> frozenset[tuple[str, int]]:
        """Backends that get no new clients but still serve those they have; known of frontends that forget."""
        found = self._lingering.get(frontend.service)
        return lingering_of(frontend, found) if found else frozenset()

    def no_local_endpoints(self) -> Iterator[Frontend]:
        """Frontends whose policy keeps traffic on this node, where nobody is ready (for a metric; walks all)."""
        for frontend in self._frontends.values():
            if ActionKind.DROP in (frontend.pod.kind, frontend.node.kind, frontend.outside.kind):
                yield frontend

    def _settle(self, key: Key, batch: Batch) -> None:
        """Compare what one Service asks for now with what it held."""
        service = self._services.get(key)
        old = self._held.pop(key, {})
        new: dict[FrontendKey, Frontend] = {}
        lingering: frozenset[Serving] = frozenset()
        check: HealthCheck | None = None
        listening = key in self._listening
        self._listening.discard(key)
        if service is not None:
            endpoints = self._endpoints.get(key, _NO_ENDPOINTS)
            new = self._resolve(key, service, endpoints, old, listening)
            lingering = self._lingering_now(service, endpoints.slices, new.values())
            check = health_check(service, endpoints.slices, self.settings.name) if new else None
        elif (left := self._endpoints.get(key)) is not None:
            left.keep_only(())  # the next Service of that name may have other ports
        if new:
            self._held[key] = new
        self._settle_lingering(key, lingering, batch)
        self._settle_check(key, check, batch)
        for frontend_key in old.keys() - new.keys() if old.keys() != new.keys() else ():
            self._publish(frontend_key, self._withdraw(frontend_key, key), batch)
        for frontend_key, frontend in new.items():
            if frontend_key not in old:
                self._claim(frontend_key, key)
            if old.get(frontend_key) != frontend:
                rivals = self._rivals.get(frontend_key, (key,))
                self._publish(frontend_key, rivals[0], batch)
                if rivals[0] != key:
                    self._tell_rivals(frontend_key, (rivals[0], key))  # another field may ask for it now

    def _resolve(
        self, key: Key, service: Service, endpoints: Endpoints, old: dict[FrontendKey, Frontend], listening: bool
    ) -> dict[FrontendKey, Frontend]:
        """``old`` are its frontends as they were; ``listening`` says that only its endpoints can be others."""
        if listening:
            found = filled(old, service, endpoints, self.settings)
        else:
            found = frontends_of(service, endpoints, self.settings)
            if old:
                endpoints.keep_only(ports_of(found.values()))
        self.troubles.put_endpoints(key, service, endpoints)
        return found

    def _lingering_now(
        self, service: Service, slices: Collection[EndpointSlice], frontends: Collection[Frontend]
    ) -> frozenset[Serving]:
        """Where all slices are even and nobody has a weight, whoever serves is in the pools: that is nearly always."""
        if not any(one.forgets for one in frontends):
            return frozenset()
        weighted = service.metadata.annotation(WEIGHTS_ANNOTATION) != ""
        if not weighted and all(self._is_even(one) for one in slices):
            return frozenset()
        cuts = cuts_connections(service, self.settings)
        return lingering_endpoints(serving_endpoints(service, slices, self.settings.name, cuts=cuts), frontends)

    def _is_even(self, slice_: EndpointSlice) -> bool:
        key = slice_.metadata.key
        if self._even.get(key) is slice_:
            return True
        if is_uneven(slice_):
            self._even.pop(key, None)
            return False
        self._even[key] = slice_
        return True

    def _settle_lingering(self, key: Key, new: frozenset[Serving], batch: Batch) -> None:
        old = self._lingering.pop(key, frozenset())
        if new:
            self._lingering[key] = new
        if old - new:
            batch.deserted.update(one for one, frontend in self._held.get(key, {}).items() if frontend.forgets)

    def _settle_check(self, key: Key, new: HealthCheck | None, batch: Batch) -> None:
        if new != self._checks.pop(key, None):
            batch.checks[key] = new
        if new is not None:
            self._checks[key] = new

    def _claim(self, frontend: FrontendKey, service: Key) -> None:
        rivals = self._rivals.get(frontend)
        if rivals is None:
            if (held := self._frontends.get(frontend)) is None:
                return
            rivals = self._rivals[frontend] = [held.service]
        insort(rivals, service)
        if rivals[0] == service:
            self._tell_rivals(frontend, rivals)

    def _withdraw(self, frontend: FrontendKey, service: Key) -> Key | None:
        """Who has it now; None when nobody else asked for it."""
        rivals = self._rivals.get(frontend)
        if rivals is None:
            return None
        was_holder = rivals[0] == service
        rivals.remove(service)
        self.troubles.put_rival(None, frontend, service, None)
        if was_holder:
            self._tell_rivals(frontend, rivals)
        if len(rivals) == 1:
            del self._rivals[frontend]
        return rivals[0]

    def _tell_rivals(self, key: FrontendKey, rivals: Sequence[Key]) -> None:
        holder, *losers = rivals
        self.troubles.put_rival(None, key, holder, None)
        for loser in losers:
            if (frontend := self._held.get(loser, {}).get(key)) is not None:
                self.troubles.put_rival(frontend, key, loser, holder)

    def _publish(self, key: FrontendKey, holder: Key | None, batch: Batch) -> None:
        """The frontend of who has it is the one that counts."""
        batch.before.setdefault(key, self._frontends.get(key))
        if holder is not None:
            self._frontends[key] = self._held[holder][key]
        else:
            self._frontends.pop(key, None)
