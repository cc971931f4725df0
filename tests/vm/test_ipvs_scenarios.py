"""The scenarios as real packets in mode ipvs, in a guest whose kernel has IPVS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fairway.conform.scenario import STAGE, Scenario, scenarios
from fairway.conform.stage import Stage, built
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from fairway.modes.ipvs import IpvsMode
from fairway.modes.registry import MODES

pytestmark = pytest.mark.vm

PLAYED = [one for one in scenarios() if not one.not_applicable(IpvsMode.name)]


@pytest.fixture(scope="module")
def stage(make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with built(make_network(STAGE), MODES[IpvsMode.name]) as made:
        yield made


@pytest.mark.parametrize("scenario", PLAYED, ids=lambda one: one.name)
def test_packets_end_as_the_scenario_says(stage: Stage, scenario: Scenario) -> None:
    wrong = [one for step in scenario.steps for one in stage.play(step)]
    assert not wrong, "\n\n".join(wrong)
