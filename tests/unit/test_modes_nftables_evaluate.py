"""The trace of a packet: each rule it met, with what it found there and why."""

from __future__ import annotations

import pytest

from fairway.model.packet import Packet, Verdict
from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    ObjectReference,
)
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.expressions import listing
from fairway.modes.nftables.tables import Rule

MODE = NftablesMode()
SETTINGS = NodeSettings(
    name="node-1", addresses=("192.168.0.2",), pod_networks=("10.244.0.0/16",), service_networks=("10.96.0.0/16",)
)
STAY = Action(kind=ActionKind.FORWARD)
FRONTEND = Frontend(
    kind=FrontendKind.CLUSTER_IP,
    address="10.96.0.1",
    protocol="TCP",
    port=80,
    service=Key("shop", "web"),
    port_name="http",
    field="spec.ports[0]",
    cluster=(
        Backend(
            address="10.244.1.2",
            port=8080,
            local=True,
            slice="web-1",
            behind=ObjectReference(kind="Pod", namespace="shop", name="web-1"),
        ),
        Backend(
            address="10.244.2.2",
            port=8080,
            node="node-2",
            slice="web-1",
            behind=ObjectReference(kind="Pod", namespace="shop", name="web-2"),
        ),
    ),
    pod=STAY,
    node=STAY,
    outside=Action(kind=ActionKind.FORWARD, masquerade=True),
)


def program() -> Program:
    return MODE.program(NodeView(settings=SETTINGS, frontends={FRONTEND.key: FRONTEND}))


def packet(source: str = "10.244.1.9", destination: str = "10.96.0.1", port: int = 80) -> Packet:
    return Packet(source=source, destination=destination, protocol="TCP", port=port)


def test_a_trace_tells_each_rule_what_it_found_and_why() -> None:
    trace = MODE.evaluate(program(), packet())
    before = [
        (step.where, step.effect, str(step.origin or "")) for step in trace.steps if "rewritten" not in step.effect
    ]
    assert before[:5] == [
        ("ip fairway prerouting", "jump services", ""),
        (
            "ip fairway services",
            'frontends has 10.96.0.1 . tcp . 80 comment "shop/web:http" : 2; goto dispatch',
            "Service shop/web spec.ports[0]",
        ),
        ("ip fairway dispatch", "actions has 2 : goto balance-2; goto balance-2", ""),
        ("ip fairway balance-2", "goto deliver", ""),
        (
            "ip fairway deliver",
            "slots has 10.96.0.1 . tcp . 80 . 0 : 10.244.1.2 . 8080; goes to 10.244.1.2:8080",
            "EndpointSlice shop/web-1 endpoints (Pod shop/web-1)",
        ),
    ]
    assert trace.outcome.because == "one of 2 backends, drawn at random"
    assert [choice.backend for choice in trace.outcome.choices] == list(FRONTEND.cluster)


@pytest.mark.parametrize(
    "source, expected",
    [("10.244.1.9", [False, False]), ("10.244.1.2", [True, False]), ("192.0.2.9", [True, True])],
    ids=["pod", "the backend itself", "outside"],
)
def test_who_asks_decides_what_the_backends_see(source: str, expected: list[bool]) -> None:
    trace = MODE.evaluate(program(), packet(source))
    assert [choice.masquerade for choice in trace.outcome.choices] == expected


@pytest.mark.parametrize(
    "destination, port, verdict, last",
    [
        ("10.96.0.9", 80, Verdict.DROP, "ip daddr @service-networks drop"),
        ("192.0.2.1", 80, Verdict.PASS, "jump services"),
    ],
)
def test_what_is_for_no_frontend(destination: str, port: int, verdict: Verdict, last: str) -> None:
    trace = MODE.evaluate(program(), packet(destination=destination, port=port))
    assert trace.outcome.verdict is verdict
    assert trace.steps[-1].what == last


def test_a_program_that_holds_nothing_lets_everything_pass() -> None:
    trace = MODE.evaluate(MODE.empty(), packet())
    assert trace.outcome.verdict is Verdict.PASS
    assert trace.steps == ()


def test_a_hole_in_the_slots_is_a_draw_that_goes_nowhere() -> None:
    tables = program().tables()
    slots = tables["ip"].elements["slots"]
    del slots[max(slots)]
    trace = MODE.evaluate(Program(tables, SETTINGS), packet())
    assert [str(choice.backend) for choice in trace.outcome.choices] == ["10.244.1.2:8080"]


def test_a_rule_that_somebody_else_wrote_is_not_guessed_at() -> None:
    tables = program().tables()
    services = tables["ip"].chains["services"]
    foreign = Rule((e.Unknown("fwd", b"\1"), e.Verdict(e.Jump(e.DROP))))
    tables["ip"].chains["services"] = services._replace(rules=(foreign, *services.rules))
    trace = MODE.evaluate(Program(tables, SETTINGS), packet())
    assert trace.outcome.verdict is Verdict.DELIVER
    assert ("(fwd 01) drop", "somebody else's rule; what it does is not known here") in [
        (step.what, step.effect) for step in trace.steps
    ]


@pytest.mark.parametrize(
    "expressions, text",
    [
        ((e.Meta(4, 0), e.Compare(0, bytes(4)), e.Verdict(e.Jump(e.RETURN))), "iif 0 return"),
        ((e.Meta(4, 0), e.Compare(0, b"\7\0\0\0", equal=False), e.Masquerade()), "iif != 7 masquerade"),
        ((e.Payload(1, 16, 4, 0), e.Lookup("s", 0, invert=True), e.Reject(3)), "ip daddr != @s reject"),
        ((e.Meta(16, 0), e.Compare(0, b"\6"), e.Reject(None)), "reject with tcp reset"),
        ((e.Payload(0, 0, 6, 0), e.Lookup("s", 0)), "@0,0,48 @s"),
        ((e.Conntrack(9, 0), e.Lookup("s", 0)), "ct 9 @s"),
        ((e.Meta(9, 0), e.SetMeta(3, 0)), "meta 3 set meta 9"),
        ((e.Random(5, 7, 0), e.Lookup("m", 0, -1)), "numgen random mod 5 offset 7 vmap @m"),
        ((e.Lookup("s", 3),), "? @s"),
        ((e.Unknown("fwd", b"\1\2"),), "(fwd 0102)"),
        ((e.Constant(b"\1\0\0\0", 0), e.SetMeta(2, 0)), "meta priority set 0x01000000"),
    ],
)
def test_expressions_read_as_nft_says_them(expressions: tuple[e.Expression, ...], text: str) -> None:
    assert listing(expressions, {}) == text
