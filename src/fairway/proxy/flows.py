"""Which connection-tracking entries are stale after a change: only those of the frontends that changed.

    what a frontend had ─┐
    what it has now ─────┼─ suspects ──▶ Suspect: these may stay, all others go
    who lingers ─────────┘                   │ questions
                                             ▼
                      removals: whatever the kernel finds there is stale      looks: list these, and let `stale` judge

The kernel translates the packets of a flow as it did the first one, for as long as any arrive. A UDP client that keeps
its port (DNS resolvers, syslog, QUIC) would talk to a backend that has gone, or past a Service that has come, for ever.
Connections of TCP and SCTP are left alone, as by the reference (section 1.J), unless their Service wants them cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

from fairway.model.address import ANY, canonical, family_of, of_family
from fairway.model.parts import difference
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings
from fairway.objects.endpointslice import WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.service import Service

MOST_QUESTIONS = 8
"""Each is a walk of the kernel through its table; reading a whole protocol here costs as much as about so many."""

Place = tuple[str, int]
"""Address and port of a backend."""


class Flow(Protocol):
    """One entry of the connection-tracking table, as far as the decision needs it."""

    @property
    def protocol(self) -> str:
        """TCP, UDP or SCTP."""

    @property
    def destination(self) -> str:
        """Where the client sent to."""

    @property
    def port(self) -> int:
        """The port the client sent to."""

    @property
    def reply_source(self) -> str:
        """Who answers: the backend, or ``destination`` when nobody translated the flow."""

    @property
    def reply_port(self) -> int:
        """The port of who answers."""


FlowT = TypeVar("FlowT", bound=Flow)


class Suspect(NamedTuple):
    """A place that clients send to, some of whose flows may be stale: all but those that go to ``keep``.

    ``place`` has an address that packets carry, never that which stands for node ports. The stale ones can only be at
    one of ``gone``; None when they may be anywhere.
    """

    place: FrontendKey
    keep: frozenset[Place]
    gone: frozenset[Place] | None = None

    def after(self, earlier: Suspect | None) -> Suspect:
        """The same, when the earlier one of the same place has not been dealt with yet."""
        if earlier is None:
            return self
        unknown = self.gone is None or earlier.gone is None
        return self._replace(gone=None if unknown else ((self.gone or _NOBODY) | (earlier.gone or _NOBODY)) - self.keep)


class Spot(NamedTuple):
    """Flows of one protocol: to one address and port (no address: to all), at one backend (None: at any)."""

    protocol: str
    address: str = ""
    port: int = 0
    backend: Place | None = None


class Questions(NamedTuple):
    """What to ask the kernel: to forget all flows at some spots, and to list those at others."""

    removals: list[Spot]
    looks: list[Spot]


class Serving(NamedTuple):
    """An endpoint that answers, whether it may get new clients or not."""

    protocol: str
    port_name: str
    place: Place
    local: bool


Lingering = Callable[[Frontend], frozenset[Place]]
"""The backends of a frontend that get no new clients but still serve the ones they have: they may keep their flows."""
Relayed = Callable[[FrontendKey], frozenset[Place]]
_NOBODY: frozenset[Place] = frozenset()


def serving_endpoints(service: Service, slices: Iterable[EndpointSlice], node: str, *, cuts: bool) -> Iterator[Serving]:
    """Every endpoint of the Service that serves: terminating ones too, and those that hints give to other clients.

    Only those of UDP ports; with ``cuts`` of all.
    """
    wanted = {port.protocol for port in service.spec.ports or () if cuts or port.protocol == "UDP"}
    for slice_ in slices if wanted else ():
        for port in slice_.ports or ():
            if port.protocol not in wanted or port.name is None or not port.port:
                continue
            for one in slice_.endpoints or ():
                if one.serving and one.addresses and (address := canonical(one.addresses[0])):
                    yield Serving(port.protocol, port.name, (address, port.port), one.node_name == node)


def is_uneven(slice_: EndpointSlice) -> bool:
    """Whether any endpoint that serves may be missing in a pool: it is not ready, or for some clients only."""
    weighted = slice_.metadata.annotation(WEIGHT_ANNOTATION) != ""
    return weighted or any(one.hints is not None or (one.serving and not one.ready) for one in slice_.endpoints or ())


def lingering_endpoints(serving: Iterable[Serving], frontends: Iterable[Frontend]) -> frozenset[Serving]:
    """Those that are missing in the pools of a frontend of their port, but may keep its flows: usually none."""
    known = list(serving)
    found: set[Serving] = set()
    for frontend in frontends if known else ():
        if frontend.forgets:
            pooled = _pools(frontend)
            found.update(one for one in known if _may_keep(one, frontend) and one.place not in pooled)
    return frozenset(found)


def lingering_of(frontend: Frontend, found: Iterable[Serving]) -> frozenset[Place]:
    """Those of this frontend."""
    return frozenset(one.place for one in found if _may_keep(one, frontend))


def _may_keep(one: Serving, frontend: Frontend) -> bool:
    """A frontend that is kept to this node keeps flows to endpoints here only: a policy is obeyed at once."""
    same = (one.protocol, one.port_name) == (frontend.protocol, frontend.port_name)
    return same and (one.local or bool(frontend.cluster))


@dataclass(frozen=True)
class Node:
    """Who answers where on this node now: its frontends, the backends of each that linger, and what the node is.

    ``relayed`` are the listeners of a frontend that is relayed: to the kernel these are its backends.
    """

    frontends: Mapping[FrontendKey, Frontend]
    lingering: Lingering
    settings: NodeSettings
    relayed: Relayed = lambda key: _NOBODY

    def at(self, spot: FrontendKey) -> Frontend | None:
        """The frontend that takes what is sent to this very address: its own, or a node port."""
        found = self.frontends.get(spot)
        if found is None and self.settings.takes_node_ports(spot.address):
            found = self.frontends.get(FrontendKey(ANY[family_of(spot.address)], spot.protocol, spot.port))
        return found

    def spots(self, key: FrontendKey) -> Iterator[FrontendKey]:
        """The very addresses of a frontend: those of a node port are all of this node's that no other one takes."""
        if key.address not in ANY.values():
            yield key
            return
        taken = (
            self.settings.addresses if self.settings.node_port_addresses is None else self.settings.node_port_addresses
        )
        for address in of_family(taken, family_of(key.address)):
            spot = key._replace(address=address)
            if self.settings.takes_node_ports(address) and spot not in self.frontends:
                yield spot

    def keep(self, frontend: Frontend | None) -> frozenset[Place]:
        """The backends to which its flows may go."""
        if frontend is None:
            return _NOBODY
        if frontend.relaying is not None:
            return self.relayed(frontend.key)
        return _pools(frontend) | self.lingering(frontend)


def suspects(
    before: Mapping[FrontendKey, Frontend | None], deserted: Iterable[FrontendKey], now: Node
) -> list[Suspect]:
    """Where a change can have left stale flows behind.

    A backend that is new beside others leaves none. One that is gone does; so does the first backend of all, because
    flows from before it were not translated; and the last, and the frontend itself when it goes. ``deserted`` are those
    that lost a lingering backend.
    """
    found = [_suspect(spot, old, now) for key, old in before.items() for spot in now.spots(key)]
    lost = ((spot, now.at(spot)) for key in deserted for spot in now.spots(key))
    found += [Suspect(spot, now.keep(frontend)) for spot, frontend in lost if frontend and frontend.forgets]
    return [suspect for suspect in found if suspect is not None]


def leave_none(changed: Iterable[FrontendKey], frontends: Mapping[FrontendKey, Frontend]) -> bool:
    """Whether a change of these can have left no stale flow behind, at a glance: all are there, and leave theirs alone.

    That is nearly always so.
    """
    for key in changed:
        frontend = frontends.get(key)
        if frontend is None or frontend.forgets:
            return False
    return True


def collect(waiting: dict[FrontendKey, Suspect], found: Iterable[Suspect]) -> None:
    """Add what was found to what has not been dealt with yet."""
    for suspect in found:
        waiting[suspect.place] = suspect.after(waiting.get(suspect.place))


def everything(keys: Iterable[FrontendKey], now: Node) -> list[Suspect]:
    """Their places whose flows are looked after: for when nobody knows what changed, at the start, after a repair."""
    forgetful = ((key, one) for key in keys if (one := now.frontends.get(key)) is not None and one.forgets)
    return [Suspect(spot, now.keep(one)) for key, one in forgetful for spot in now.spots(key)]


def questions(found: Iterable[Suspect], most: int = MOST_QUESTIONS) -> Questions:
    """The fewest that find every stale flow: some at a time, or all flows of the protocols when there are many."""
    removals: list[Spot] = []
    looks: list[Spot] = []
    protocols: dict[str, None] = {}
    for place, keep, gone in found:
        protocols[place.protocol] = None
        if len(removals) + len(looks) > most:
            continue
        spot = Spot(place.protocol, place.address, place.port)
        if not keep:
            removals.append(spot)
        elif gone is not None:
            removals += [spot._replace(backend=one) for one in sorted(gone)]
        else:
            looks.append(spot)
    if len(removals) + len(looks) > most:
        return Questions([], [Spot(one) for one in protocols])
    return Questions(removals, looks)


def stale(flows: Iterable[FlowT], found: Iterable[Suspect]) -> list[FlowT]:
    """Those of the flows that must go."""
    by_place = {suspect.place: suspect.keep for suspect in found}
    gone = []
    for flow in flows:
        keep = by_place.get(FrontendKey(flow.destination, flow.protocol, flow.port))
        if keep is not None and (flow.reply_source, flow.reply_port) not in keep:
            gone.append(flow)
    return gone


def _suspect(spot: FrontendKey, old: Frontend | None, now: Node) -> Suspect | None:
    new = now.at(spot)
    told = new or old
    if told is None or not told.forgets:
        return None
    if any(one is not None and one.relaying is not None for one in (old, new)):
        # Connections that a relay has taken up stay with it. Where its listeners were nobody knows any more.
        same = old is not None and new is not None and _listeners(old) == _listeners(new)
        return None if same or told.protocol != "UDP" else Suspect(spot, now.keep(new))
    if old is None or not old.forgets or not (old.cluster or old.local):
        return Suspect(spot, now.keep(new))
    if new is not None and not _lost(old, new):
        return None
    had, has = _pools(old), now.keep(new)
    return Suspect(spot, has, had - has) if had - has else None


def _listeners(frontend: Frontend) -> tuple[bool, bool, bool]:
    """Whether it is relayed, and for which of its pools."""
    return frontend.relaying is not None, bool(frontend.cluster), bool(frontend.local)


def _lost(old: Frontend, new: Frontend) -> bool:
    """Whether anybody may have left the pools; looks only into the parts that are different."""
    for before, after in ((old.cluster, new.cluster), (old.local, new.local)):
        gone, come = difference(before, after)
        if _places(chain.from_iterable(gone)) - _places(chain.from_iterable(come)):
            return True
    return False


def _places(backends: Iterable[Backend]) -> frozenset[Place]:
    return frozenset((one.address, one.port) for one in backends)


def _pools(frontend: Frontend | None) -> frozenset[Place]:
    if frontend is None:
        return _NOBODY
    return _places(chain(frontend.cluster, frontend.local))
