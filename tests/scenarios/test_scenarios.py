"""Each scenario, answered by the model and by every mode, and printed as each mode's program.

``FAIRWAY_UPDATE_GOLDEN=1`` (``make update-golden``) writes the programs again; review the difference as text.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.model.decide import decide
from fairway.model.packet import PROTOCOLS
from tests.scenarios.report import explain
from tests.scenarios.scenario import Expectation, ScenarioError, Step, read_packets, scenarios

STEPS = [pytest.param(step, id=step.name) for one in scenarios() for step in one.steps]
LINES = [
    pytest.param(step, line, id=f"{line.place} {line.packet}")
    for one in scenarios()
    for step in one.steps
    for line in step.expectations
]


@pytest.mark.parametrize("step, line", LINES)
def test_the_model_answers(step: Step, line: Expectation) -> None:
    outcome = line.journey(lambda node, packet: decide(step.views[node], packet))
    assert outcome.essence == line.essence, explain(line, outcome)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_packets(step: Step) -> None:
    assert step.expectations


def test_the_scenarios_cover_every_verdict_and_protocol_of_the_stage() -> None:
    lines = [line for one in scenarios() for step in one.steps for line in step.expectations]
    assert {line.verdict.value for line in lines} == {"deliver", "reject", "drop", "pass"}
    assert {line.packet.protocol for line in lines} >= set(PROTOCOLS) - {"SCTP"}
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
