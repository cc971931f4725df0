"""Laws of the kept endpoints of a Service: they say what the slices say from scratch."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.endpoints import Endpoints
from fairway.model.resolve import filled, frontends_of, resolve_service
from fairway.model.view import Key, NodeSettings
from fairway.objects.codec import decode, encode
from fairway.objects.compact import SlimSlice, compact_slice
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from tests.laws.strategies import NODES, slices

KEY = Key("shop", "cart")
NODE = NodeSettings(name=NODES[0], zone="zone-a")
PORTS = (
    ServicePort(port=80, protocol="TCP", node_port=30080),
    ServicePort(name="dns", port=53, protocol="UDP", node_port=30053),
)
Put = tuple[str, EndpointSlice | None]


def service_with(internal: str, external: str) -> Service:
    return Service(
        metadata=ObjectMeta(namespace=KEY.namespace, name=KEY.name),
        spec=ServiceSpec(
            type="NodePort",
            cluster_ip="10.96.0.7",
            cluster_ips=("10.96.0.7", "fd00::7"),
            ports=PORTS,
            internal_traffic_policy=internal,
            external_traffic_policy=external,
        ),
    )


@st.composite
def puts(draw: st.DrawFn) -> Put:
    """A slice of the Service comes, changes or goes; few names and few addresses, so that slices contradict others."""
    name = draw(st.sampled_from(["one", "two", "three", "four"]))
    return name, None if draw(st.integers(0, 3)) == 0 else draw(slices(KEY, name))


def follow(before: SlimSlice | None, name: str, one: EndpointSlice) -> SlimSlice:
    """As an informer brings it: an endpoint that did not change is the very same object."""
    return compact_slice(decode(encode(one), SlimSlice), before)


@given(
    st.lists(st.lists(puts(), max_size=4), max_size=5),
    st.sampled_from(["Cluster", "Local"]),
    st.sampled_from(["Cluster", "Local"]),
)
def test_kept_endpoints_resolve_as_the_slices_do_from_scratch(
    rounds: Sequence[Sequence[Put]], internal: str, external: str
) -> None:
    service = service_with(internal, external)
    kept, there = Endpoints(), dict[str, SlimSlice]()
    frontends = frontends_of(service, kept, NODE)
    for some in rounds:
        for name, one in some:
            if one is not None:
                there[name] = follow(there.get(name), name, one)
            else:
                there.pop(name, None)
            kept.put(name, there.get(name))
        expected = {one.key: one for one in resolve_service(service, there.values(), NODE)}
        frontends = filled(frontends, service, kept, NODE)
        assert frontends == expected == frontends_of(service, kept, NODE)
        again = filled(frontends, service, kept, NODE)
        assert all(again[key] is one for key, one in frontends.items())
        assert all(again[key].cluster == tuple(one.cluster) for key, one in expected.items())
