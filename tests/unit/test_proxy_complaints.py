"""Unit tests of `fairway.proxy.complaints`: great rounds that come faster than anybody looks at them."""

from __future__ import annotations

from fairway.model.view import FrontendKey, NodeSettings
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Cache, Cause
from fairway.proxy.complaints import KERNEL_REFUSED, Complaints
from fairway.runtime.clock import FakeClock
from tests.unit.memory_mode import MemoryMode

CART = Key("shop", "cart")


async def test_of_more_great_rounds_than_anybody_has_time_for_nothing_is_lost() -> None:
    cache, told, refused = Cache(NodeSettings(name="node-a")), list[str](), dict[FrontendKey, str]()
    complaints = Complaints(MemoryMode(), cache, refused, FakeClock(), [lambda reason, problem: told.append(reason)])
    ports = tuple(ServicePort(name=f"p{number}", port=number) for number in range(1, 41))
    cart = Service(
        metadata=ObjectMeta(namespace=CART.namespace, name=CART.name),
        spec=ServiceSpec(cluster_ip="10.96.0.7", ports=ports),
    )
    cache.put_service(CART, cart, Cause("Service", CART, "7", 0.0))
    batch = cache.take()
    assert complaints.problems() == {}
    refused[FrontendKey("10.96.0.7", "TCP", 40)] = "no room"
    for _ in range(10_000):
        complaints.look_soon(batch)
    assert list(complaints.problems()) == [CART]
    assert told == [KERNEL_REFUSED]
    complaints.close()
