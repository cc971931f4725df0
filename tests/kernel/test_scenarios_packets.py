"""The scenarios as real packets: three nodes, each with its own program in its own kernel tables.

Each step is loaded over what the step before it left, by the plan between the two, and read back. The steps of one
scenario follow each other as changes of single frontends, which is what the proxy does all day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from tests.kernel.stage import Stage, built
from tests.scenarios.scenario import Step, scenarios

pytestmark = pytest.mark.kernel

STEPS = [pytest.param(step, id=step.name) for one in scenarios() for step in one.steps]


@pytest.fixture(scope="module")
def stage(make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with built(make_network) as made:
        yield made


@pytest.mark.parametrize("step", STEPS)
def test_packets_end_as_the_scenario_says(stage: Stage, step: Step) -> None:
    stage.load(step.views, as_change=step.suffix > "-1")
    stage.check(step.views, step.expectations)
