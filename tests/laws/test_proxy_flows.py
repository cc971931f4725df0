"""Laws of stale flows: after a change no flow goes to a backend that its frontend has no more, and no other is touched.

The flows are those that the kernel would have made: through a frontend's pools, or past where no frontend is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.view import FrontendKey, NodeSettings
from fairway.objects.meta import Key
from fairway.objects.service import STALE_CONNECTIONS_ANNOTATION, Service
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.flows import Node, Suspect, collect, everything, leave_none, questions, suspects
from fairway.proxy.forgetting import forget
from tests.laws.strategies import KEYS, NODE_ADDRESSES, NODE_PORTS, NODES, PORTS, PROTOCOLS, services, slices_for
from tests.laws.test_proxy_cache import Event, Objects, happen
from tests.unit.memory_mode import MemoryFlow, MemoryTracking

HERE = NodeSettings(name=NODES[0], addresses=NODE_ADDRESSES)


def place_of(flow: MemoryFlow) -> FrontendKey:
    return FrontendKey(flow.destination, flow.protocol, flow.port)


def flows_that_can_be(now: Node, elsewhere: Iterable[FrontendKey]) -> list[MemoryFlow]:
    """One for each backend that a client could get; and one past the Services to each place where there is none."""
    found = []
    places = {spot for key, one in now.frontends.items() if one.protocol for spot in now.spots(key)}
    for place in sorted({*places, *elsewhere}):
        frontend = now.at(place)
        pool = {*frontend.cluster, *frontend.local} if frontend else ()
        backends = [(one.address, one.port) for one in pool] if frontend else [(place.address, place.port)]
        found += [MemoryFlow(place.protocol, place.address, place.port, *one) for one in sorted(backends)]
    return found


def other_places() -> st.SearchStrategy[list[FrontendKey]]:
    one = st.builds(
        FrontendKey,
        st.sampled_from([*NODE_ADDRESSES, "10.96.0.7", "fd00:10:96::7", "198.51.100.1"]),
        st.sampled_from(PROTOCOLS),
        st.sampled_from([*PORTS, *NODE_PORTS]),
    )
    return st.lists(one, max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Event]]:
    """Rounds of what happens to two Services and their endpoints."""
    known = {key: draw(outspoken(key)) for key in KEYS[:2]}
    found: list[list[Event]] = []
    for _ in range(draw(st.integers(1, 4))):
        some: list[Event] = []
        for key in known:
            what = draw(st.sampled_from(["endpoints", "endpoints", "endpoints", "service", "gone", "nothing"]))
            if what in ("service", "gone"):
                known[key] = draw(outspoken(key))
            if what in ("endpoints", "service") or (what == "nothing" and not found):
                some += [known[key], *draw(slices_for(known[key]))]
            if what == "gone":
                some.append(("Service", key))
        found.append(some)
    return found


@st.composite
def outspoken(draw: st.DrawFn, key: Key) -> Service:
    """Some say what becomes of stale connections; some take addresses and ports of the node that are node ports too."""
    service = draw(services(key))
    word = draw(st.sampled_from([None, "keep", "cut", "perhaps"]))
    notes = {STALE_CONNECTIONS_ANNOTATION: word} if word else None
    spec = service.spec
    if draw(st.booleans()):
        ports = tuple(msgspec.structs.replace(one, node_port=53, port=53) for one in (spec.ports or ())[:1])
        spec = msgspec.structs.replace(spec, ports=ports, external_ips=draw(st.sampled_from([NODE_ADDRESSES[:1], ()])))
    return msgspec.structs.replace(
        service, spec=spec, metadata=msgspec.structs.replace(service.metadata, annotations=notes)
    )


def after(cache: Cache, some: Sequence[Event]) -> Batch:
    for event in some:
        happen(cache, Objects(HERE), event)
    return cache.take()


def seen(cache: Cache) -> Node:
    return Node(dict(cache.frontends), cache.lingering, cache.settings)


@given(history=histories(), cut=st.booleans(), elsewhere=other_places())
def test_a_change_forgets_exactly_the_flows_that_its_frontends_do_not_have_any_more(
    history: Sequence[Sequence[Event]], cut: bool, elsewhere: list[FrontendKey]
) -> None:
    cache = Cache(msgspec.structs.replace(HERE, cut_connections=cut))
    tracking = MemoryTracking()
    for some in history:
        old = seen(cache)
        fresh = [one for one in flows_that_can_be(old, elsewhere) if one not in tracking.table]
        tracking.table += fresh
        batch = after(cache, some)
        now = seen(cache)

        def goes(flow: MemoryFlow, old: Node = old, now: Node = now) -> bool:
            frontend = now.at(place_of(flow))
            told = frontend or old.at(place_of(flow))
            return bool(told and told.forgets) and (flow.reply_source, flow.reply_port) not in now.keep(frontend)

        changed = [one for one in tracking.table if goes(one)]
        stay = [one for one in tracking.table if one not in changed]
        gone = forget(tracking, suspects(batch.before, batch.deserted, now))
        assert tracking.table == stay
        assert sum(gone.values()) == len(changed)
        assert not (leave_none(batch.before, now.frontends) and suspects(batch.before, (), now))


@given(history=histories(), elsewhere=other_places())
def test_what_is_forgotten_late_is_forgotten_all_the_same(
    history: Sequence[Sequence[Event]], elsewhere: list[FrontendKey]
) -> None:
    """Several rounds while the table could not be reached; clients went on coming."""
    cache, tracking = Cache(HERE), MemoryTracking()
    waiting: dict[FrontendKey, Suspect] = {}
    for some in history:
        new = flows_that_can_be(seen(cache), elsewhere)
        tracking.table += [one for one in new if one not in tracking.table]
        batch = after(cache, some)
        collect(waiting, suspects(batch.before, batch.deserted, seen(cache)))
    made, now = list(tracking.table), seen(cache)
    forget(tracking, list(waiting.values()))
    for flow in made:
        frontend = now.at(place_of(flow))
        kept = (flow.reply_source, flow.reply_port) in now.keep(frontend)
        if kept:
            assert flow in tracking.table
        elif frontend is not None and frontend.forgets:
            assert flow not in tracking.table


@given(history=histories(), elsewhere=other_places())
def test_a_start_forgets_only_what_is_stale(history: Sequence[Sequence[Event]], elsewhere: list[FrontendKey]) -> None:
    cache, tracking = Cache(HERE), MemoryTracking()
    for some in history:
        new = flows_that_can_be(seen(cache), elsewhere)
        tracking.table += [one for one in new if one not in tracking.table]
        after(cache, some)
    now = seen(cache)
    frontends = {one: now.at(place_of(one)) for one in tracking.table}
    stay = [
        flow
        for flow, frontend in frontends.items()
        if frontend is None or not frontend.forgets or (flow.reply_source, flow.reply_port) in now.keep(frontend)
    ]
    forget(tracking, everything(now.frontends, now))
    assert tracking.table == stay


@given(history=histories(), most=st.integers(0, 4))
def test_however_the_kernel_is_asked_the_answer_is_the_same(history: Sequence[Sequence[Event]], most: int) -> None:
    cache, tracking = Cache(HERE), MemoryTracking()
    for some in history:
        tracking.table = flows_that_can_be(seen(cache), ())
        batch = after(cache, some)
        found = suspects(batch.before, batch.deserted, seen(cache))
        few, many = questions(found, most), questions(found, 10_000)
        assert len(few.removals) + len(few.looks) <= max(most, len(PROTOCOLS))
        other = MemoryTracking(list(tracking.table))
        forget(tracking, found, most)
        forget(other, found, 10_000)
        assert tracking.table == other.table
        assert all(one.address for one in many.removals)
