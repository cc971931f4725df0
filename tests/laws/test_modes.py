"""Laws of every mode: it says what the model says, and a Plan leads where it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fairway.model.decide import decide
from fairway.model.packet import Packet
from fairway.model.view import FrontendKey, NodeView
from tests.laws.machines import Memory, Subject, every_mode
from tests.laws.strategies import Cluster, changes, clusters, packets
from tests.laws.strategies import settings as node_settings


@st.composite
def views_and_packets(draw: st.DrawFn) -> tuple[NodeView, Packet]:
    view = draw(clusters(node_settings(extras=True))).view()
    return view, draw(packets(view))


@pytest.mark.reference("7.2 TestTracePacket, TestTracePacketV4/V6")
@every_mode
@given(views_and_packets())
def test_evaluate_ends_as_decide_does(subject: Subject, case: tuple[NodeView, Packet]) -> None:
    view, packet = case
    outcome, decided = subject.mode.evaluate(subject.mode.program(view), packet).outcome, decide(view, packet)
    assert outcome.essence == decided.essence
    assert outcome.frontend == decided.frontend
    assert outcome.shares == decided.shares


@pytest.mark.reference("7.2 TestParseIPTablesData, TestSortIPTablesRules")
@every_mode
@given(views_and_packets())
def test_a_program_read_back_evaluates_as_the_one_that_was_written(
    subject: Subject, case: tuple[NodeView, Packet]
) -> None:
    view, packet = case
    machine = holding(subject, subject.mode.program(view))
    read = subject.read(machine, view.settings)
    assert subject.mode.evaluate(read, packet).outcome.essence == decide(view, packet).essence


def _remembering(view: NodeView) -> NodeView:
    """The same with session affinity on every frontend."""
    frontends = {key: replace(one, affinity_seconds=600) for key, one in view.frontends.items()}
    return NodeView(settings=view.settings, frontends=frontends)


@every_mode
@settings(max_examples=30)
@given(views_and_packets())
def test_a_client_that_comes_back_gets_the_backend_it_had(subject: Subject, case: tuple[NodeView, Packet]) -> None:
    view, packet = _remembering(case[0]), case[1]
    program = subject.mode.program(view)
    read = subject.read(holding(subject, program), view.settings)
    for choice in decide(view, packet).choices:
        decided = decide(view, packet, choice.backend)
        assert decided.choices == (choice,)
        assert subject.mode.evaluate(program, packet, choice.backend).outcome.essence == decided.essence
        assert subject.mode.evaluate(read, packet, choice.backend).outcome.essence == decided.essence


@every_mode
@given(changes(), st.data())
def test_a_client_whose_backend_has_left_gets_any_other(
    subject: Subject, change: tuple[Cluster, Cluster], data: st.DataObject
) -> None:
    before, after = (_remembering(one.view()) for one in change)
    packet = data.draw(packets(before))
    program = subject.mode.program(before)
    subject.mode.accept(program, changed(program, subject.mode.program(after)))
    for choice in decide(before, packet).choices:
        decided = decide(after, packet, choice.backend)
        stays = choice.backend in [one.backend for one in decide(after, packet).choices]
        assert not stays or decided.choices[0].backend == choice.backend
        assert subject.mode.evaluate(program, packet, choice.backend).outcome.essence == decided.essence


@every_mode
@given(views_and_packets())
def test_every_step_of_a_trace_is_a_line_of_the_program(subject: Subject, case: tuple[NodeView, Packet]) -> None:
    view, packet = case
    program = subject.mode.program(view)
    whole = [line.strip() for line in subject.mode.render(program).splitlines()]
    lines = {*whole, *(line.partition(' comment "')[0] for line in whole)}
    assert {step.what for step in subject.mode.evaluate(program, packet).steps} <= lines


@pytest.mark.reference("7.2 Test_diffNFTablesTransaction, Test_sortNFTablesTransaction")
@every_mode
@given(clusters(), st.data())
def test_the_order_of_frontends_does_not_matter(subject: Subject, cluster: Cluster, data: st.DataObject) -> None:
    view = cluster.view()
    shuffled = dict(data.draw(st.permutations(list(view.frontends.items()))))
    other = NodeView(settings=view.settings, frontends=shuffled)
    one, two = subject.mode.program(view), subject.mode.program(other)
    assert not subject.mode.plan(one, two)
    assert subject.mode.render(one) == subject.mode.render(two)


@every_mode
@given(clusters())
def test_nothing_is_to_be_done_when_nothing_changed(subject: Subject, cluster: Cluster) -> None:
    program = subject.mode.program(cluster.view())
    assert not subject.mode.plan(program, program)
    assert not subject.mode.plan_changes(program, dict(program.fragments))


@pytest.mark.reference("7.2 Test_diffNFTablesTransaction, Test_sortNFTablesTransaction")
@every_mode
@given(clusters(), clusters())
def test_a_plan_leads_from_any_program_to_any_other(subject: Subject, before: Cluster, after: Cluster) -> None:
    mode = subject.mode
    old, new = mode.program(before.view()), mode.program(after.view())
    machine = holding(subject, old)
    machine.apply(mode.plan(old, new))
    assert not mode.plan(machine.read_back(), new)
    machine.apply(mode.plan(new, mode.empty()))
    assert not mode.plan(machine.read_back(), mode.empty())


@every_mode
@given(changes())
def test_a_plan_of_changes_leads_to_the_changed_program(subject: Subject, change: tuple[Cluster, Cluster]) -> None:
    mode = subject.mode
    program = mode.program(change[0].view())
    machine = holding(subject, program)
    some = changed(program, mode.program(change[1].view()))
    machine.apply(mode.plan_changes(program, some))
    mode.accept(program, some)
    assert not mode.plan(machine.read_back(), program)
    assert not mode.plan_changes(program, some)


@every_mode
@given(changes(), st.data())
def test_a_changed_program_evaluates_as_a_new_one(
    subject: Subject, change: tuple[Cluster, Cluster], data: st.DataObject
) -> None:
    view = change[1].view()
    program = subject.mode.program(change[0].view())
    subject.mode.accept(program, changed(program, subject.mode.program(view)))
    packet = data.draw(packets(view))
    assert subject.mode.evaluate(program, packet).outcome.essence == decide(view, packet).essence


def holding(subject: Subject, program: Any) -> Memory:
    """A machine that was empty and has been given a Program."""
    machine = subject.memory()
    machine.apply(subject.mode.plan(machine.read_back(), program))
    return machine


def changed(program: Any, wanted: Any) -> dict[FrontendKey, Any]:
    """What has to be replaced in one Program to make it the other."""
    gone: dict[FrontendKey, Any] = dict.fromkeys(program.fragments.keys() - wanted.fragments.keys())
    return {**gone, **wanted.fragments}
