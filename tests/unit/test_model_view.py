"""Unit tests of `fairway.model.view` and the names things have in it."""

from __future__ import annotations

import pytest

from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Client,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    ObjectReference,
    Origin,
    Pool,
)

FORWARD = Action(kind=ActionKind.FORWARD, because="internalTrafficPolicy=Cluster")
LOCAL = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL)
REFUSE = Action(kind=ActionKind.REJECT)
HERE = Backend(
    address="10.244.1.2",
    port=80,
    node="node-1",
    local=True,
    slice="web-a",
    behind=ObjectReference(kind="Pod", namespace="shop", name="web-1"),
)
THERE = Backend(address="10.244.2.2", port=80, node="node-2", slice="web-a")


def frontend(port_name: str = "http") -> Frontend:
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address="10.96.0.1",
        protocol="TCP",
        port=80,
        service=Key("shop", "web"),
        port_name=port_name,
        field="spec.ports[0]",
        cluster=(HERE, THERE),
        local=(HERE,),
        pod=FORWARD,
        node=LOCAL,
        outside=REFUSE,
    )


def test_a_frontend_gives_each_client_its_row_and_each_row_its_pool() -> None:
    one = frontend()
    assert [one.action(client) for client in Client] == [FORWARD, LOCAL, REFUSE]
    assert (one.pool(Pool.CLUSTER), one.pool(Pool.LOCAL)) == ((HERE, THERE), (HERE,))


def test_a_service_port_is_written_as_the_reference_writes_it() -> None:
    assert frontend().service_port == "shop/web:http"
    assert frontend(port_name="").service_port == "shop/web"


def test_origins_name_the_object_and_the_field() -> None:
    assert str(frontend().origin) == "Service shop/web spec.ports[0]"
    assert str(frontend().origin_of(HERE)) == "EndpointSlice shop/web-a endpoints (Pod shop/web-1)"
    assert str(frontend().origin_of(THERE)) == "EndpointSlice shop/web-a endpoints (10.244.2.2)"
    assert str(Origin(kind="Node", key=Key("", "node-1"))) == "Node node-1"


def test_an_origin_is_one_line_whatever_the_names_hold() -> None:
    hostile = Backend(
        address="10.0.0.1",
        port=80,
        slice="a\n}\nflush ruleset",
        behind=ObjectReference(kind="Pod", namespace="x", name="\x1b[31m\u2028y"),
    )
    text = str(frontend().origin_of(hostile))
    assert text == "EndpointSlice shop/a?}?flush ruleset endpoints (Pod x/?[31m?y)"
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "key, text",
    [
        (FrontendKey("10.96.0.1", "TCP", 80), "10.96.0.1:80/TCP"),
        (FrontendKey("fd00::1", "UDP", 53), "[fd00::1]:53/UDP"),
        (FrontendKey("10.96.0.1", "", 0), "10.96.0.1 (other ports)"),
    ],
)
def test_a_key_reads_like_an_address(key: FrontendKey, text: str) -> None:
    assert str(key) == text


def test_a_backend_reads_like_an_address() -> None:
    assert str(HERE) == "10.244.1.2:80"
    assert str(Backend(address="fd00::1", port=80)) == "[fd00::1]:80"


def test_a_backend_whose_node_nobody_knows_may_be_here() -> None:
    unknown = Backend(address="192.0.2.1", port=80)
    assert [one.may_be_here for one in (HERE, THERE, unknown)] == [True, False, True]


NODE = ("192.168.0.2", "192.168.1.2", "127.0.0.1", "2001:db8::1", "::1")


@pytest.mark.parametrize(
    "configured, taken",
    [
        (None, {"192.168.0.2", "192.168.1.2", "2001:db8::1"}),
        (("192.168.0.2",), {"192.168.0.2"}),
        (("192.168.0.2", "127.0.0.1", "::1"), {"192.168.0.2"}),
        ((), set()),
    ],
    ids=["every address but loopback", "one address", "loopback never", "none"],
)
def test_which_addresses_take_node_ports(configured: tuple[str, ...] | None, taken: set[str]) -> None:
    settings = NodeSettings(name="n", addresses=NODE, node_port_addresses=configured)
    assert {one for one in (*NODE, "192.0.2.1") if settings.takes_node_ports(one)} == taken


def test_pods_are_detected_family_by_family() -> None:
    settings = NodeSettings(name="n", pod_networks=("10.244.0.0/16",))
    assert settings.detects_pods("IPv4")
    assert not settings.detects_pods("IPv6")
