"""Each scenario, answered by the model and by every mode, and printed as each mode's program.

``FAIRWAY_UPDATE_GOLDEN=1`` (``make update-golden``) writes the programs again; review the difference as text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fairway.conform.explain import explain
from fairway.conform.scenario import FOLDER, Expectation, Scenario, ScenarioError, Step, read_packets, scenarios
from fairway.model.decide import decide
from fairway.model.packet import ICMP, PROTOCOLS, Outcome, Packet, Trace
from fairway.model.view import NodeView
from fairway.modes.registry import MODES
from tests.scenarios.modes import AnyMode, what_services_add

STEPS = [pytest.param(step, id=step.name) for one in scenarios() for step in one.steps]
BY_NAME = [pytest.param(mode, id=mode.name) for mode in MODES.values()]
BY_MODE = [
    pytest.param(mode, step.in_mode(mode.name), id=f"{mode.name}-{step.name}")
    for mode in MODES.values()
    for one in scenarios()
    if not one.not_applicable(mode.name)
    for step in one.steps
]


@pytest.mark.parametrize("step", STEPS)
def test_the_model_answers(step: Step) -> None:
    came = [(line, line.journey(lambda node, packet: decide(step.views[node], packet))) for line in step.expectations]
    assert [explain(line, outcome) for line, outcome in came if outcome.essence != line.essence] == []


@pytest.mark.parametrize("mode, step", BY_MODE)
def test_the_modes_program_answers(mode: AnyMode, step: Step) -> None:
    programs = {node: mode.program(view) for node, view in step.views.items()}
    assert [wrong for line in step.expectations if (wrong := _problem(mode, programs, line))] == []


def _problem(mode: AnyMode, programs: Mapping[str, Any], line: Expectation) -> str:
    """What is wrong with how a packet ends, with its way through the rules; or nothing."""
    traces: list[Trace] = []

    def answer(node: str, packet: Packet) -> Outcome:
        traces.append(mode.evaluate(programs[node], packet))
        return traces[-1].outcome

    outcome = line.journey(answer)
    return "" if outcome.essence == line.essence else explain(line, outcome, traces)


@pytest.mark.reference("7.2 TestOverallIPTablesRules / TestOverallNFTablesRules")
@pytest.mark.parametrize("mode", BY_NAME)
@pytest.mark.parametrize("step", STEPS)
def test_the_modes_program_reads_as_it_did(mode: AnyMode, step: Step) -> None:
    _compare(step.file(mode.name, "golden"), what_services_add(mode, step.in_mode(mode.name).view))


@pytest.mark.reference("7.2 TestMasqueradeRule")
@pytest.mark.parametrize("mode", BY_NAME)
def test_the_program_of_a_node_without_services_reads_as_it_did(mode: AnyMode) -> None:
    empty = NodeView(settings=scenarios()[0].steps[0].view.settings, frontends={})
    _compare(FOLDER / f"{mode.name}.golden", mode.render(mode.program(empty)))


def _compare(golden: Path, text: str) -> None:
    if os.environ.get("FAIRWAY_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.exists(), f"{golden.name} is missing: run `make update-golden`, and read what it writes"
    assert text == golden.read_text()


@pytest.mark.parametrize("mode", BY_NAME)
@pytest.mark.parametrize("step", STEPS)
def test_a_program_is_at_rest(mode: AnyMode, step: Step) -> None:
    step = step.in_mode(mode.name)
    program = mode.program(step.view)
    assert not mode.plan(program, mode.program(step.view))
    assert not mode.plan_changes(
        program, {key: mode.compile(one, step.view.settings) for key, one in step.view.frontends.items()}
    )


def test_no_golden_file_is_left_over() -> None:
    """A program of a step or a mode that is gone would look as if it were still tested."""
    wanted = {step.file(mode.name, "golden") for one in scenarios() for step in one.steps for mode in MODES.values()}
    assert set(FOLDER.glob("*/*.golden")) == wanted


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_packets(step: Step) -> None:
    assert step.expectations


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_a_scenario_says_in_one_line_what_it_asserts(scenario: Scenario) -> None:
    assert scenario.description.asserts.count("\n") == 0
    assert scenario.description.asserts, "write it into scenario.yaml, under asserts"


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_only_modes_that_there_are_may_be_excused(scenario: Scenario) -> None:
    assert set(scenario.description.not_applicable) <= set(MODES)
    assert all(scenario.not_applicable(mode) for mode in scenario.description.not_applicable)


def test_the_scenarios_cover_every_verdict_and_protocol_of_the_stage() -> None:
    lines = [line for one in scenarios() for step in one.steps for line in step.expectations]
    assert {line.verdict.value for line in lines} == {"deliver", "reject", "drop", "pass", "answer"}
    assert {line.packet.protocol for line in lines} == {*PROTOCOLS, ICMP}
    assert len(scenarios()) >= 24


@pytest.mark.parametrize(
    "line, problem",
    [
        ("tcp client-1 10.96.0.1:80 drop", "expected `tcp CLIENT -> ADDRESS:PORT VERDICT"),
        ("icmp client-1 -> 10.96.0.1:80 drop", "no protocol 'icmp'"),
        ("tcp somebody -> 10.96.0.1:80 drop", "nobody is called 'somebody'"),
        ("tcp client-1 -> 10.96.0.1:80 lost", "no verdict 'lost'"),
        ("tcp client-1 -> 10.96.0.1:80 deliver", "names backends"),
        ("tcp client-1 -> 10.96.0.1:80 drop web-1:80 as node", "names backends"),
        ("tcp client-1 -> 10.96.0.1:80 deliver web-1:8080", "as client"),
        ("tcp client-1 -> 10.96.0.1:80 deliver web-9:8080 as node", "no backend is called 'web-9'"),
    ],
)
def test_a_wrong_line_says_where_and_what(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "packets.txt"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(ScenarioError) as caught:
        list(read_packets(path))
    assert "packets.txt:2: " in str(caught.value)
    assert problem in str(caught.value)
