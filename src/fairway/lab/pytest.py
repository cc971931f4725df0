"""Networks and clusters as pytest fixtures: real packets between nodes, pods and a client outside.

pytest_plugins = ["fairway.lab.pytest"]            # not needed where the package is installed

def test_a_pod_reaches_another(make_network):
    network = make_network(cluster(pods=[("web", "node-1"), ("shell", "node-2")]))
    network.serve("web", ServedPort(8080))
    assert network.client_from("shell").ask(network.address("web"), 8080).pod == "web"
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

# This module is loaded by every pytest run where the package is installed, so the rest comes when a fixture is used.
if TYPE_CHECKING:
    from fairway.lab.running import RunningNetwork
    from fairway.lab.running_cluster import RunningCluster
    from fairway.lab.topology import Topology

_PREFIX = "pytest-"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def machine_for_labs() -> None:
    """A machine on which a lab can be built; clears away what a killed test session left."""
    from fairway.lab import remains

    if os.geteuid() != 0:
        pytest.skip("a lab needs root, to make network namespaces")
    for name in remains.orphans(_PREFIX):
        remains.remove(name)


@pytest.fixture(scope="module")
def make_network(machine_for_labs: None) -> Iterator[Callable[[Topology], RunningNetwork]]:
    """Build networks from topologies; all of them go when the test module is done.

    The topology's own name is replaced by one that nobody else uses.
    """
    from fairway.lab.network import Network
    from fairway.lab.running import RunningNetwork
    from fairway.lab.state import State

    with ExitStack() as stack:

        def make(topology: Topology) -> RunningNetwork:
            named = replace(topology, name=_fresh_name())
            state = State(named.name)
            state.claim(named)
            stack.callback(state.remove)
            return stack.enter_context(RunningNetwork(stack.enter_context(Network(named))))

        yield make


@pytest.fixture(scope="module")
def lab_network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    """Three nodes with two pods each, ``a-1 a-2`` on ``node-1`` to ``c-2`` on ``node-3``; nothing is served yet."""
    from fairway.lab.topology import cluster

    pods = [(f"{letter}-{i}", f"node-{n}") for n, letter in enumerate("abc", start=1) for i in (1, 2)]
    return make_network(cluster(pods=pods))


@pytest.fixture(scope="session")
def make_lab(machine_for_labs: None) -> Iterator[Callable[[Topology], RunningCluster]]:
    """Bring up whole clusters; all of them go at the end of the session.

    The topology's own name is replaced by one that nobody else uses, and its pods are left to the API.
    """
    from fairway.lab.cluster import Plan
    from fairway.lab.running_cluster import RunningCluster

    with ExitStack() as stack:

        def make(topology: Topology) -> RunningCluster:
            plan = Plan(replace(topology, name=_fresh_name(), pods=()), temporary=True)
            return stack.enter_context(RunningCluster(plan))

        yield make


@pytest.fixture(scope="session")
def lab(make_lab: Callable[[Topology], RunningCluster]) -> RunningCluster:
    """A cluster of three nodes without any workload, shared by the whole session: use namespaces of your own."""
    from fairway.lab.topology import cluster

    return make_lab(cluster())


def _fresh_name() -> str:
    return f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
