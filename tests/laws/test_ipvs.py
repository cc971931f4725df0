"""Laws of the ipvs mode: it says what the model says, but for what IPVS cannot do; a Plan leads where it says."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from fairway.model.decide import decide, frontend_of
from fairway.model.packet import ICMP, Packet
from fairway.model.view import FrontendKind, NodeView
from fairway.modes.ipvs import IpvsMode, Plan
from fairway.modes.ipvs.parts import Bound, Entry, Marked, Part, Value, Virtual
from fairway.modes.ipvs.plan import Add, AddSet, Change, Remove, RemoveSet
from tests.laws.strategies import clusters, packets
from tests.laws.strategies import settings as node_settings

MODE = IpvsMode()


@st.composite
def _views_and_packets(draw: st.DrawFn) -> tuple[NodeView, Packet]:
    view = draw(clusters(node_settings(extras=True))).view()
    return view, draw(packets(view))


def _is_comparable(view: NodeView, packet: Packet) -> bool:
    """Whether the mode promises what the model says: docs/explain/ipvs.md has the exceptions."""
    settings, frontend = view.settings, frontend_of(view, packet)
    if packet.destination.startswith("127.") or packet.destination == "::1" or packet.source.startswith("127."):
        return False
    here = [one for key, one in view.frontends.items() if key.address == packet.destination]
    if frontend is None:
        return not here  # the address is the node's own, and its other ports are refused
    if packet.protocol == ICMP:
        return False
    # One virtual server of two frontends: a node port, and an external address that is the node's own.
    if packet.destination in settings.addresses and len(here) > 0:
        return False
    return settings.detects_pods(packet.family) or not packet.local


@given(_views_and_packets())
def test_evaluate_ends_as_decide_does(case: tuple[NodeView, Packet]) -> None:
    view, packet = case
    assume(_is_comparable(view, packet))
    assert MODE.evaluate(MODE.program(view), packet).outcome.essence == decide(view, packet).essence


@given(_views_and_packets())
def test_every_frontend_has_a_virtual_server_where_its_clients_look(case: tuple[NodeView, Packet]) -> None:
    view, _ = case
    parts = MODE.program(view).parts()
    kinds = (FrontendKind.CLUSTER_IP, FrontendKind.EXTERNAL_IP, FrontendKind.LOAD_BALANCER)
    for key, frontend in view.frontends.items():
        if frontend.kind in kinds:
            assert Virtual(key.protocol, key.address, key.port) in parts
            assert Bound(key.address) in parts or key.address in view.settings.addresses


def _applied(parts: dict[Part, Value], plan: Plan) -> dict[Part, Value]:
    """What a kernel would hold then, refusing what a kernel refuses."""
    held = dict(parts)
    for command in plan.commands:
        match command:
            case Add(part, value):
                assert part not in held, f"{command}: it is there"
                held[part] = value
            case Change(part, value):
                assert part in held, f"{command}: it is not there"
                held[part] = value
            case Remove(Virtual() | Marked() as virtual):
                held = {part: value for part, value in held.items() if virtual not in (part, part[0])}
            case Remove(part):
                assert part in held, f"{command}: it is not there"
                del held[part]
            case RemoveSet(declared):
                held = {part: value for part, value in held.items() if not _is_in(part, declared.name)}
            case AddSet() | _:
                pass
    return held


def _is_in(part: Part, name: str) -> bool:
    return isinstance(part, Entry) and part.set == name


@given(clusters(node_settings()), clusters(node_settings()))
def test_a_plan_leads_from_any_program_to_any_other(one: object, other: object) -> None:
    old, new = MODE.program(one.view()), MODE.program(other.view())  # type: ignore[attr-defined]
    assert _applied(old.parts(), MODE.plan(old, new)) == new.parts()
    assert not MODE.plan(new, new)


@given(_views_and_packets(), st.data())
def test_changes_lead_to_the_same_as_the_whole(case: tuple[NodeView, Packet], data: st.DataObject) -> None:
    view = case[0]
    keys = sorted(view.frontends)
    gone = data.draw(st.sets(st.sampled_from(keys)) if keys else st.just(set()))
    rest = NodeView(
        settings=view.settings, frontends={key: one for key, one in view.frontends.items() if key not in gone}
    )
    program = MODE.program(view)
    held = program.parts()
    leave = dict.fromkeys(gone)
    held = _applied(held, MODE.plan_changes(program, leave))
    MODE.accept(program, leave)
    assert held == program.parts() == MODE.program(rest).parts()
    back = {key: MODE.compile(view.frontends[key], view.settings) for key in gone}
    held = _applied(held, MODE.plan_changes(program, back))
    MODE.accept(program, back)
    assert held == program.parts()
    assert program.owners == MODE.program(view).owners
