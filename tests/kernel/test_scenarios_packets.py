"""The scenarios as real packets: three nodes, each with its own program in its own kernel tables.

Each step is loaded over what the step before it left, by the plan between the two, and read back. The steps of one
scenario follow each other as changes of single frontends, which is what the proxy does all day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from fairway.kernel.links import Links
from fairway.kernel.nftables import Nftables
from fairway.lab.ports import ServedPort
from fairway.lab.probe import Answer
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import SERVICE_NETWORK, LabNode, Topology
from fairway.model.decide import decide
from fairway.model.packet import Outcome, Packet, Trace, Verdict
from fairway.modes.nftables import NftablesMode, Program
from tests.scenarios.report import explain
from tests.scenarios.scenario import NODE_UNDER_TEST, PLACES, SERVED, STAGE, Expectation, Step, scenarios

pytestmark = pytest.mark.kernel

MODE = NftablesMode()
ROUTED_TO_NODE = (str(SERVICE_NETWORK), "198.51.100.0/24", "203.0.113.0/24")
AT_ONCE = 2.0  # seconds: for answers that come at once, with room for a busy machine
NOTHING = 0.3  # seconds: how long silence must last
STEPS = [pytest.param(step, id=step.name) for one in scenarios() for step in one.steps]


@dataclass
class Node:
    """A node's kernel and what it holds by our knowledge."""

    place: LabNode
    kernel: Nftables
    held: Program

    def load(self, step: Step) -> None:
        view = step.views[self.place.name]
        if step.suffix > "-1" and view.settings == self.held.settings:
            fragments = {key: MODE.compile(one, view.settings) for key, one in view.frontends.items()}
            changes = {key: fragments.get(key) for key in self.held.fragments.keys() | fragments.keys()}
            self.kernel.apply(MODE.plan_changes(self.held, changes))
            MODE.accept(self.held, changes)
            return
        wanted = MODE.program(view)
        self.kernel.apply(MODE.plan(self.held, wanted))
        self.held = wanted

    def drift(self) -> str:
        """What would have to be done for the kernel to hold what we think it holds."""
        return MODE.plan(Program(self.kernel.read(), self.held.settings), self.held).render()


@dataclass
class Stage:
    network: RunningNetwork
    nodes: dict[str, Node]

    def send(self, line: Expectation, timeout: float) -> Answer:
        client = self.network.client_from(line.client)
        packet = line.packet
        return client.ask(packet.destination, packet.port, packet.protocol, timeout=timeout)


@pytest.fixture(scope="module")
def stage(make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with ExitStack() as stack:
        network = make_network(STAGE)
        _serve(network)
        with Links(network.network.router) as links:
            for destination in ROUTED_TO_NODE:
                links.add_route(destination, via=PLACES[NODE_UNDER_TEST].address)
        nodes = {
            node.name: Node(
                node,
                stack.enter_context(network.network.node(node.name).run(Nftables)),
                MODE.empty(),
            )
            for node in STAGE.nodes
        }
        yield Stage(network, nodes)


def _serve(network: RunningNetwork) -> None:
    """Everybody answers with his name and the port that was asked."""
    for place in PLACES:
        for protocol, number in SERVED:
            network.serve_at(place, ServedPort(number, protocol), says=f"{place}:{number}")


@pytest.mark.parametrize("step", STEPS)
def test_packets_end_as_the_scenario_says(stage: Stage, step: Step) -> None:
    for node in stage.nodes.values():
        node.load(step)
    assert {name: node.drift() for name, node in stage.nodes.items()} == dict.fromkeys(stage.nodes, "")
    with ThreadPoolExecutor(max_workers=8) as pool:
        problems = list(pool.map(lambda line: _try(stage, step, line), step.expectations))
    assert not any(problems), "\n\n".join(filter(None, problems))


def _try(stage: Stage, step: Step, line: Expectation) -> str:
    """Send one packet, several times if it may go several ways; the report of what went wrong, or nothing."""
    journey = _Journey(step)
    outcome = line.journey(journey.answer)
    if line.verdict is not Verdict.DELIVER:
        answer = stage.send(line, NOTHING if line.verdict is Verdict.DROP else AT_ONCE)
        return "" if _ends_as(line.verdict, answer) else explain(line, str(answer), journey.traces)
    answered: set[str] = set()
    for _ in range(2 * len(outcome.choices) + 1):
        answer = stage.send(line, AT_ONCE)
        if not answer.ok or not _is_expected(line, answer, journey.node):
            return explain(line, str(answer), journey.traces)
        answered.add(answer.pod)
    if journey.sticks and len(answered) > 1:
        return explain(line, f"answers from {', '.join(sorted(answered))}, one after the other", journey.traces)
    return ""


@dataclass
class _Journey:
    """Asks the mode on each node that handles the packet, and remembers the way."""

    step: Step
    node: str = ""
    traces: list[Trace] = field(default_factory=list)
    sticks: bool = False
    """Whether a client must get the same backend again."""

    def answer(self, node: str, packet: Packet) -> Outcome:
        self.node = node
        view = self.step.views[node]
        self.traces.append(MODE.evaluate(MODE.program(view), packet))
        outcome = decide(view, packet)
        if outcome.frontend is not None:
            frontend = view.frontends[outcome.frontend]
            self.sticks = frontend.affinity_seconds > 0 and not MODE.unsupported(frontend)
        return outcome


def _ends_as(verdict: Verdict, answer: Answer) -> bool:
    match verdict:
        case Verdict.REJECT:
            return answer.result == "refused"
        case Verdict.DROP:
            return answer.result == "timed out"
        case _:
            return not answer.ok


def _is_expected(line: Expectation, answer: Answer, handled_by: str) -> bool:
    """Whether one of the line's backends answered, and saw the address that the line says."""
    name, _, port = answer.pod.rpartition(":")
    node = STAGE.node(handled_by)
    seen_as_node = answer.client_address in (node.address, node.gateway)
    for address, number, masquerade in line.backends:
        if (address, number) == (PLACES[name].address, int(port)):
            return seen_as_node if masquerade else answer.client_address == line.packet.source
    return False
