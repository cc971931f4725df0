"""Laws of the kept endpoints of a Service: they say what the slices say from scratch."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.endpoints import Endpoints
from fairway.model.resolve import resolve_endpoints, resolve_service
from fairway.model.view import Key, NodeSettings
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from tests.laws.strategies import NODES, slices

KEY = Key("shop", "cart")
NODE = NodeSettings(name=NODES[0], zone="zone-a")
SERVICE = Service(
    metadata=ObjectMeta(namespace=KEY.namespace, name=KEY.name),
    spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80, protocol="TCP"),)),
)
Put = tuple[str, EndpointSlice | None]


@st.composite
def puts(draw: st.DrawFn) -> Put:
    """A slice of the Service comes, changes or goes; few names and few addresses, so that slices contradict others."""
    name = draw(st.sampled_from(["one", "two", "three", "four"]))
    return name, None if draw(st.integers(0, 3)) == 0 else draw(slices(KEY, name))


@given(st.lists(st.lists(puts(), max_size=4), max_size=5))
def test_kept_endpoints_resolve_as_the_slices_do_from_scratch(rounds: Sequence[Sequence[Put]]) -> None:
    kept, there = Endpoints(), dict[str, EndpointSlice]()
    for some in rounds:
        for name, one in some:
            kept.put(name, one)
            if one is not None:
                there[name] = one
            else:
                there.pop(name, None)
        assert resolve_endpoints(SERVICE, kept, NODE) == resolve_service(SERVICE, there.values(), NODE)
