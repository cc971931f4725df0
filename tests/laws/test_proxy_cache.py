"""Laws of the proxy's cache: whatever happens in whatever order, it says what `resolve` says from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.resolve import resolve
from fairway.model.view import Frontend, FrontendKey, NodeSettings, NodeView
from fairway.objects.codec import decode, encode
from fairway.objects.compact import SlimSlice, compact_slice
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.service import Service
from fairway.proxy.cache import Cache, Cause
from tests.laws.strategies import NODES, keys, services, settings, slices

SLICE_NAMES = ("one", "two", "three")
Event = Service | EndpointSlice | NodeSettings | tuple[str, Key]


@dataclass
class Objects:
    """What the API server holds after some events."""

    settings: NodeSettings
    services: dict[Key, Service] = field(default_factory=dict)
    slices: dict[Key, EndpointSlice] = field(default_factory=dict)

    def view(self) -> NodeView:
        by_service: dict[Key, list[EndpointSlice]] = {}
        for key, one in self.slices.items():
            by_service.setdefault(Key(key.namespace, one.service_name), []).append(one)
        return resolve(self.services.values(), by_service, self.settings)

    def frontends(self) -> dict[FrontendKey, Frontend]:
        return self.view().frontends


@st.composite
def slice_of_anybody(draw: st.DrawFn) -> EndpointSlice:
    """Slices have few names, so that one of them often moves from Service to Service."""
    return draw(slices(draw(keys()), draw(st.sampled_from(SLICE_NAMES))))


def slice_keys() -> st.SearchStrategy[Key]:
    return st.builds(Key, st.sampled_from(["bank", "shop"]), st.sampled_from(SLICE_NAMES))


def events() -> st.SearchStrategy[list[Event]]:
    gone = st.tuples(st.just("Service"), keys()) | st.tuples(st.just("EndpointSlice"), slice_keys())
    one: st.SearchStrategy[Event] = st.one_of(services(), slice_of_anybody(), slice_of_anybody(), settings(), gone)
    return st.lists(one, max_size=12)


def happen(cache: Cache, objects: Objects, event: Event) -> None:
    """The event as the informers would tell it, and as the API server would remember it."""
    cause = Cause("any", Key("", ""), "1", 0.0)
    match event:
        case NodeSettings():
            objects.settings = event
            cache.put_settings(event)
        case Service():
            objects.services[event.key] = event
            cache.put_service(event.key, event, cause)
        case EndpointSlice():
            objects.slices[event.key] = event
            cache.put_slice(event.key, event, cause)
        case ("Service", key):
            objects.services.pop(key, None)
            cache.put_service(key, None, cause)
        case (_, key):
            objects.slices.pop(key, None)
            cache.put_slice(key, None, cause)


FIRST = NodeSettings(name=NODES[0])


@pytest.mark.reference("7.2 TestUpdateEndpointsMap")
@pytest.mark.reference(
    "7.4 TestServiceCacheLeaks, TestEndpointSliceUpdate, TestEndpointsMapFromESC, TestCheckoutChanges"
)
@given(rounds=st.lists(events(), max_size=4))
def test_after_any_events_the_frontends_are_those_of_resolve_from_scratch(rounds: Sequence[Sequence[Event]]) -> None:
    cache, objects = Cache(FIRST), Objects(FIRST)
    for some in rounds:
        for event in some:
            happen(cache, objects, event)
        cache.take()
        assert cache.frontends == objects.frontends()


@pytest.mark.reference("7.2 TestUpdateEndpointsMap")
@pytest.mark.reference("7.4 TestEndpointInfoByServicePort, TestEsDataChanged")
@pytest.mark.reference(
    "7.4 TestServiceCacheLeaks, TestEndpointSliceUpdate, TestEndpointsMapFromESC, TestCheckoutChanges"
)
@given(rounds=st.lists(events(), max_size=4))
def test_a_batch_names_exactly_the_frontends_that_are_different(rounds: Sequence[Sequence[Event]]) -> None:
    cache, objects = Cache(FIRST), Objects(FIRST)
    for some in rounds:
        old = objects.frontends()
        for event in some:
            happen(cache, objects, event)
        batch, new = cache.take(), objects.frontends()
        different = {key for key in {*old, *new} if old.get(key) != new.get(key)}
        assert batch.before == {key: old.get(key) for key in different}


@given(rounds=st.lists(st.tuples(events(), st.booleans()), max_size=4))
def test_what_is_wrong_after_any_events_is_what_a_cache_says_that_was_told_only_what_is_there_now(
    rounds: Sequence[tuple[Sequence[Event], bool]],
) -> None:
    """Endpoints are the very same objects from slice to slice, as an informer brings them."""
    cache, objects = Cache(FIRST), Objects(FIRST)
    known: dict[Key, SlimSlice] = {}
    for some, looks in rounds:
        for event in some:
            if isinstance(event, EndpointSlice):
                event = known[event.key] = compact_slice(decode(encode(event), SlimSlice), known.get(event.key))
            happen(cache, objects, event)
            if looks:
                cache.troubles.look()
        cache.take()
        other, nothing = Cache(objects.settings), Objects(FIRST)
        there: list[Event] = [*objects.services.values(), *objects.slices.values()]
        for one in there:
            happen(other, nothing, one)
        other.take()
        assert _wrong(cache) == _wrong(other)


def _wrong(cache: Cache) -> dict[Key, list[str]]:
    return {key: sorted(map(str, cache.troubles.of(key))) for key in cache.troubles.services()}


def subject(event: Event) -> tuple[str, Key]:
    """What the event is about."""
    if isinstance(event, NodeSettings):
        return "NodeSettings", Key("", "")
    return event if isinstance(event, tuple) else (type(event).__name__, event.key)


@given(some=events())
def test_the_order_of_events_of_different_objects_does_not_matter(some: Sequence[Event]) -> None:
    last = {subject(event): event for event in some}
    forth, back = Cache(FIRST), Cache(FIRST)
    for event in last.values():
        happen(forth, Objects(FIRST), event)
    for event in reversed(last.values()):
        happen(back, Objects(FIRST), event)
        back.take()
    forth.take()
    assert forth.frontends == back.frontends
