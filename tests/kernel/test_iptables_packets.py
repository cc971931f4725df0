"""The legacy variant with real packets, of both families: some scenarios, as its rules are those of the other one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fairway.conform.scenario import STAGE, Scenario, scenarios
from fairway.conform.stage import Stage, built
from fairway.kernel.command import run
from fairway.kernel.xtables import VARIANTS
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from fairway.modes.iptables.counted import counted
from fairway.modes.registry import MODES
from fairway.proxy.document import document_at

pytestmark = pytest.mark.kernel

CHOSEN = (
    "dual-stack",
    "endpoints-change",
    "external-local",
    "hairpin",
    "load-balancer-source-ranges",
    "localhost-node-ports",
    "no-backends",
    "node-port-addresses",
    "ping",
    "session-affinity",
    "three-protocols-on-one-port",
    "unallocated-address",
    "weights",
)


@pytest.fixture(scope="module")
def stage(make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with built(make_network(STAGE), MODES["iptables"], document_at({"iptables.variant": "legacy"})) as made:
        yield made


def test_connections_are_counted_by_where_they_went(stage: Stage) -> None:
    step = next(one for one in scenarios() if one.name == "load-balancer-source-ranges").steps[0]
    assert stage.play(step) == []
    saved = run(["iptables-legacy-save", "--counters"], namespace=stage.nodes["node-1"].namespace)
    found = counted(saved, "ip")
    assert {key.address for key, connections in found.items() if connections} >= {"203.0.113.47", "10.96.0.47"}


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in scenarios() if one.name in CHOSEN])
def test_packets_end_as_the_scenario_says(stage: Stage, scenario: Scenario) -> None:
    assert scenario.not_applicable(stage.mode.name) == ""
    for step in scenario.steps:
        assert stage.play(step) == []
    for tool in ("iptables", "ip6tables"):
        held = {one: run([f"{tool}-{one}-save"], namespace=stage.nodes["node-1"].namespace) for one in VARIANTS}
        assert [one for one in VARIANTS if ":KUBE-SERVICES" in held[one]] == ["legacy"]
