"""The scenarios as real packets: three nodes, each with its own program in its own kernel, in every mode.

Each step is loaded over what the step before it left, by the plan between the two, and read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fairway.conform.scenario import STAGE, Scenario, scenarios
from fairway.conform.stage import Stage, built
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from fairway.modes.registry import MODES
from tests.kernel.modes import HERE

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module", params=HERE)
def stage(request: pytest.FixtureRequest, make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with built(make_network(STAGE), MODES[request.param]) as made:
        yield made


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in scenarios()])
def test_packets_end_as_the_scenario_says(stage: Stage, scenario: Scenario) -> None:
    if because := scenario.not_applicable(stage.mode.name):
        pytest.skip(because)
    for step in scenario.steps:
        assert stage.play(step) == []
