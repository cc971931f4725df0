"""A frontend's rows as elements: each kind of row, and what the mode says that it does not do."""

from __future__ import annotations

import pytest

from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKind,
    Key,
    NodeSettings,
    ObjectReference,
    Pool,
)
from fairway.modes.nftables.compile import compile_frontend, unsupported
from fairway.modes.nftables.ruleset import BY_CLIENT, BY_SOURCE, LOCAL, REFUSE, THROW_AWAY, base
from fairway.modes.nftables.tables import printed_element

SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2", "127.0.0.1"))
HERE = Backend(
    address="10.244.1.2",
    port=8080,
    node="node-1",
    local=True,
    slice="web-1",
    behind=ObjectReference(kind="Pod", namespace="shop", name="web-1"),
)
THERE = Backend(address="10.244.2.2", port=8080, node="node-2", slice="web-1")
UNKNOWN = Backend(address="172.16.0.9", port=8080, slice="web-1")
STAY = Action(kind=ActionKind.FORWARD)
HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)
NEAR = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL)
REJECT = Action(kind=ActionKind.REJECT)
DROP = Action(kind=ActionKind.DROP)


def frontend(
    pod: Action, node: Action | None = None, outside: Action | None = None, address: str = "10.96.0.1", **more: object
) -> Frontend:
    fields: dict[str, object] = {
        "kind": FrontendKind.CLUSTER_IP,
        "address": address,
        "protocol": "TCP",
        "port": 80,
        "service": Key("shop", "web"),
        "port_name": "http",
        "field": "spec.ports[0]",
        "cluster": (HERE, THERE),
        "local": (HERE,),
        "pod": pod,
        "node": node or pod,
        "outside": outside or pod,
    }
    return Frontend(**(fields | more))  # type: ignore[arg-type]


def shown(one: Frontend) -> list[str]:
    """Every element as `set key : data`, without comments."""
    fragment = compile_frontend(one, SETTINGS)
    sets = base(SETTINGS)[fragment.family].sets
    elements = (*fragment.elements, *fragment.all_slots())
    return [
        f"{each.set} {printed_element(sets[each.set], each)}".replace(' comment "shop/web:http"', "")
        for each in elements
    ]


F = "10.96.0.1 . tcp . 80"
SLOTS = [f"slots {F} . 0 : 10.244.1.2 . 8080", f"slots {F} . 1 : 10.244.2.2 . 8080"]
NEAR_SLOTS = [f"slots {F} . {LOCAL} : 10.244.1.2 . 8080"]
HAIRPIN = [f"hairpin {F} . 10.244.1.2 . 10.244.1.2"]


@pytest.mark.parametrize(
    "one, expected",
    [
        pytest.param(frontend(STAY), [f"frontends {F} : 2", *HAIRPIN, *SLOTS], id="all clients alike"),
        pytest.param(
            frontend(STAY, HIDE, HIDE),
            [f"frontends {F} : 2", f"masquerade-node {F}", f"masquerade-outside {F}", *HAIRPIN, *SLOTS],
            id="masqueraded for some",
        ),
        pytest.param(frontend(NEAR), [f"frontends {F} : {LOCAL + 1}", *HAIRPIN, *NEAR_SLOTS], id="this node's only"),
        pytest.param(frontend(REJECT), [f"frontends {F} : {REFUSE}"], id="refused"),
        pytest.param(frontend(DROP), [f"frontends {F} : {THROW_AWAY}"], id="dropped"),
        pytest.param(
            frontend(STAY, HIDE, NEAR),
            [
                f"frontends {F} : {BY_CLIENT}",
                f"frontends-pod {F} : 2",
                f"frontends-node {F} : 2",
                f"frontends-outside {F} : {LOCAL + 1}",
                f"masquerade-node {F}",
                *HAIRPIN,
                *SLOTS,
                *NEAR_SLOTS,
            ],
            id="both pools",
        ),
        pytest.param(
            frontend(REJECT, source_ranges=("192.0.2.0/25", "192.0.2.128/25", "198.51.100.7/32")),
            [
                f"frontends {F} : {BY_SOURCE}",
                *(f"frontends-{client} {F} : {REFUSE}" for client in ("pod", "node", "outside")),
                f"source-ranges {F} . 192.0.2.0 . 192.0.2.255",
                f"source-ranges {F} . 198.51.100.7 . 198.51.100.7",
            ],
            id="source ranges",
        ),
        pytest.param(
            frontend(REJECT, source_ranges=("192.0.2.0/26", "192.0.2.16/28", "198.51.100.8/30")),
            [
                f"frontends {F} : {BY_SOURCE}",
                *(f"frontends-{client} {F} : {REFUSE}" for client in ("pod", "node", "outside")),
                *(f"source-ranges {F} . 192.0.2.{at} . 192.0.2.{at + 15}" for at in (0, 16, 32, 48)),
                *(f"source-ranges {F} . 198.51.100.{at} . 198.51.100.{at}" for at in (8, 9, 10, 11)),
            ],
            id="source ranges of another length than those that are looked for",
        ),
        pytest.param(
            frontend(REJECT, kind=FrontendKind.OTHER_PORTS, protocol="", port=0),
            ["cluster-ips 10.96.0.1"],
            id="other ports",
        ),
    ],
)
def test_rows_become_elements(one: Frontend, expected: list[str]) -> None:
    assert shown(one) == expected


def test_a_backend_on_an_unknown_node_may_be_here() -> None:
    assert f"hairpin {F} . 172.16.0.9 . 172.16.0.9" in shown(frontend(STAY, cluster=(UNKNOWN, THERE)))


def test_a_frontend_on_an_address_that_takes_node_ports_says_so() -> None:
    element = "node-address-frontends 192.168.0.2 . tcp . 80"
    assert element in shown(frontend(STAY, address="192.168.0.2", kind=FrontendKind.EXTERNAL_IP))
    assert element not in shown(frontend(STAY, address="192.168.0.3", kind=FrontendKind.EXTERNAL_IP))


def test_a_pool_that_no_row_uses_has_no_slots() -> None:
    assert [slots.first for slots in compile_frontend(frontend(NEAR), SETTINGS).slots] == [LOCAL]


def test_elements_know_the_field_that_caused_them() -> None:
    fragment = compile_frontend(frontend(STAY), SETTINGS)
    first, second = fragment.all_slots()
    assert str(fragment.origin(first)) == "EndpointSlice shop/web-1 endpoints (Pod shop/web-1)"
    assert str(fragment.origin(second)) == "EndpointSlice shop/web-1 endpoints (10.244.2.2)"
    assert {str(fragment.origin(each)) for each in fragment.elements} == {"Service shop/web spec.ports[0]"}


def test_a_hostile_name_cannot_leave_its_comment() -> None:
    hostile = frontend(STAY, service=Key("shop", 'web" } ; flush ruleset #'), port_name="x" * 300)
    (comment,) = {each.comment for each in compile_frontend(hostile, SETTINGS).elements if each.comment}
    assert comment.startswith("shop/webflushruleset:xxx")
    assert len(comment) == 127


def test_a_comment_is_as_short_in_bytes_as_in_letters() -> None:
    # the kernel takes no more than 256 bytes of user data, and refuses the whole transaction for one element with more
    hostile = frontend(STAY, service=Key("shop", "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 200), port_name="http")
    assert {each.comment for each in compile_frontend(hostile, SETTINGS).elements if each.comment} == {"shop/:http"}


def test_more_backends_than_a_hash_has_places_are_told() -> None:
    crowd = tuple(Backend(address=f"10.244.{number // 250}.{number % 250}", port=80) for number in range(1022))
    assert unsupported(frontend(STAY, balancing="hash", cluster=crowd[:1021])) == []
    assert unsupported(frontend(STAY, cluster=crowd)) == []
    (said,) = unsupported(frontend(STAY, balancing="hash", cluster=crowd))
    assert said.endswith("has 1021 places: of more backends some get no clients")
