"""The scenarios' stage made real: three nodes with a program each, everybody answering, packets sent and judged.

    Services ──resolve──▶ a view for each node ──compile, plan, apply──▶ three kernels ◀──packets── PLACES

Nothing here starts a process: kernels are spoken to over netlink and packets are sent from sockets, each opened by a
thread inside its namespace, so that the stage also runs in a guest where starting a process is slow. (A mode whose own
tool is a process starts that.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fairway.conform.explain import explain
from fairway.conform.scenario import NODE_UNDER_TEST, PLACES, SERVED, STAGE, Expectation, Step, addresses_of
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.contract import ModeKernel, Opened
from fairway.kernel.links import ROUTE_LOCALHOST, Links, set_sysctls
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import ServedPort
from fairway.lab.probe import Answer, has_sockets
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import SERVICE_NETWORK, LabNode
from fairway.model.decide import decide
from fairway.model.packet import ICMP, PROTOCOLS, Outcome, Packet, Trace, Verdict
from fairway.model.view import NodeView
from fairway.modes.contract import Mode
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration
from fairway.proxy.kernels import open_mode

AnyMode = Mode[Any, Any, Any]

ROUTED_TO_NODE = (str(SERVICE_NETWORK), "198.51.100.0/24", "203.0.113.0/24")
AT_ONCE = 10.0  # seconds: for answers that come at once, with room for a busy machine and an emulated one
NOTHING = 0.3  # seconds: how long silence must last


@dataclass
class Node:
    """A node's kernel and what it holds by our knowledge."""

    place: LabNode
    namespace: NetworkNamespace
    mode: AnyMode
    kernel: ModeKernel[Any, Any]
    conntrack: Conntrack
    held: Any
    view: NodeView | None = None
    """What `held` was made from; None before the first."""

    def load(self, view: NodeView, *, as_change: bool) -> None:
        """Make the kernel do what the view says; as changes of single frontends if that is possible."""
        before, self.view = self.view, view
        if as_change and before is not None and view.settings == before.settings:
            fragments = {key: self.mode.compile(one, view.settings) for key, one in view.frontends.items()}
            changes = {key: fragments.get(key) for key in before.frontends.keys() | fragments.keys()}
            self._apply(self.mode.plan_changes(self.held, changes))
            self.mode.accept(self.held, changes)
            return
        wanted = self.mode.program(view)
        self._apply(self.mode.plan(self.held, wanted))
        self.held = wanted

    def _apply(self, plan: Any) -> None:
        if plan:
            self.namespace.run(lambda: self.kernel.apply(plan))

    def drift(self) -> str:
        """What would have to be done for the kernel to hold what we think it holds."""
        plan = self.mode.plan(self.namespace.run(self.kernel.read_back), self.held)
        return str(plan.render())

    def forget_flows(self) -> None:
        """UDP has no end of a connection: a new client with an old one's port would be sent where that one went."""
        self.conntrack.forget(Match("UDP"))


class Stage:
    """The network and its nodes, all in one mode. Not a dataclass: Hypothesis would print all that is in it."""

    def __init__(self, network: RunningNetwork, mode: AnyMode, nodes: dict[str, Node]) -> None:
        self.network = network
        self.mode = mode
        self.nodes = nodes
        self.protocols = protocols()

    def __repr__(self) -> str:
        return f"the stage {self.network.topology.name} in mode {self.mode.name}"

    def play(self, step: Step) -> list[str]:
        """Load a step over what was there before, and send its packets; what went wrong, each with its trace.

        The steps of one scenario follow each other as changes of single frontends, which is what the proxy does all
        day.
        """
        step = step.in_mode(self.mode.name)
        drift = self.load(step.views, as_change=step.suffix > "-1")
        return drift or self.check(step.views, step.expectations)

    def load(self, views: Mapping[str, NodeView], *, as_change: bool) -> list[str]:
        """Every node gets its program, and must then hold just that; the nodes that do not, and what they lack."""
        for name, node in self.nodes.items():
            if views[name].settings.localhost_node_ports:
                set_sysctls(ROUTE_LOCALHOST, node.namespace)
            node.load(views[name], as_change=as_change)
            node.forget_flows()
        found = {name: node.drift() for name, node in self.nodes.items()}
        return [f"{name} does not hold what it was given; it lacks\n{lacks}" for name, lacks in found.items() if lacks]

    def check(self, views: Mapping[str, NodeView], lines: Iterable[Expectation]) -> list[str]:
        """Send every packet that can be sent; for each that did not end as its line says, the trace."""
        sent = [line for line in lines if line.packet.protocol in self.protocols]
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = pool.map(lambda group: [self._problem(views, line) for line in group], _side_by_side(views, sent))
            return [one for problems in found for one in problems if one]

    def _problem(self, views: Mapping[str, NodeView], line: Expectation) -> str:
        """Send one packet, several times if it may go several ways; the report of what went wrong, or nothing."""
        journey = Journey(self.mode, views)
        outcome = line.journey(journey.answer)
        if line.verdict is not Verdict.DELIVER:
            answer = self._send(line, AT_ONCE if line.verdict is Verdict.REJECT else NOTHING)
            return "" if _ends_as(line, answer) else explain(line, str(answer), journey.traces)
        answered: set[str] = set()
        for _ in range(2 * len(outcome.choices) + 1):
            answer = self._send(line, AT_ONCE)
            if not answer.ok or not _is_expected(line, answer, journey.node):
                return explain(line, str(answer), journey.traces)
            answered.add(answer.pod)
        if journey.sticks and len(answered) > 1:
            return explain(line, f"answers from {', '.join(sorted(answered))}, one after the other", journey.traces)
        return ""

    def _send(self, line: Expectation, timeout: float) -> Answer:
        client = self.network.client_from(line.client)
        packet = line.packet
        return client.ask(packet.destination, packet.port, packet.protocol, timeout=timeout)


def _side_by_side(views: Mapping[str, NodeView], lines: Sequence[Expectation]) -> list[list[Expectation]]:
    """Lines that may be sent at the same time.

    With session affinity a client's go one after the other: where frontends of a Service share a memory, two
    newcomers at one moment are led to two backends, and to the first of them from then on.
    """
    if not any(one.affinity_seconds for view in views.values() for one in view.frontends.values()):
        return [[line] for line in lines]
    groups: dict[str, list[Expectation]] = {}
    for line in lines:
        groups.setdefault(line.client, []).append(line)
    return list(groups.values())


@dataclass
class Journey:
    """Asks the model and the mode on each node that handles the packet, and remembers the way."""

    mode: AnyMode
    views: Mapping[str, NodeView]
    node: str = ""
    traces: list[Trace] = field(default_factory=list)
    sticks: bool = False
    """Whether a client must get the same backend again."""

    def answer(self, node: str, packet: Packet) -> Outcome:
        self.node = node
        view = self.views[node]
        self.traces.append(self.mode.evaluate(self.mode.program(view), packet))
        outcome = decide(view, packet)
        if outcome.frontend is not None:
            frontend = view.frontends[outcome.frontend]
            self.sticks = frontend.affinity_seconds > 0 and not self.mode.unsupported(frontend)
        return outcome


def protocols() -> frozenset[str]:
    """Those that this kernel has sockets for; packets of others are not sent."""
    return frozenset(one for one in (*PROTOCOLS, ICMP) if has_sockets(one))


@contextmanager
def built(network: RunningNetwork, mode: AnyMode, document: KubeProxyConfiguration = DEFAULTS) -> Iterator[Stage]:
    """The stage on a network of the shape `STAGE`, for as long as the ``with`` block; everybody answers.

    The document tunes the mode, as it does a proxy. Raises `fairway.kernel.contract.Unsuitable` when this machine's
    kernel cannot do the mode.
    """
    with opened(network, mode, document) as stage:
        furnish(network)
        yield stage


def furnish(network: RunningNetwork) -> None:
    """Let everybody answer on a network of the shape `STAGE`, and lead what is from outside to the node under test."""
    there = protocols()
    ports = [ServedPort(number, protocol) for protocol, number in SERVED if protocol in there]
    for place in PLACES:
        for port in ports:
            network.serve_at(place, port, says=f"{place}:{port.number}")
    with Links(network.network.router) as links:
        for destination in ROUTED_TO_NODE:
            network.network.add_route(links, destination, PLACES[NODE_UNDER_TEST].address)


@contextmanager
def opened(network: RunningNetwork, mode: AnyMode, document: KubeProxyConfiguration = DEFAULTS) -> Iterator[Stage]:
    """A network of any shape whose nodes have their kernels open, and hold nothing yet. Raises as `built` does."""
    with ExitStack() as stack:
        nodes: dict[str, Node] = {}
        for node in network.topology.nodes:
            namespace = network.network.node(node.name)
            found = _entered(stack, namespace, open_mode(mode.name, document))
            conntrack = stack.enter_context(namespace.run(Conntrack))
            nodes[node.name] = Node(node, namespace, found.mode, found.kernel, conntrack, mode.empty())
        yield Stage(network, mode, nodes)


def _entered(stack: ExitStack, namespace: NetworkNamespace, opening: AbstractContextManager[Opened]) -> Opened:
    """The kernel of a node in this mode: opened, used and closed inside the node's namespace."""
    opened = namespace.run(opening.__enter__)
    stack.callback(lambda: namespace.run(lambda: opening.__exit__(None, None, None)))
    return opened


def _ends_as(line: Expectation, answer: Answer) -> bool:
    match line.verdict:
        case Verdict.REJECT if line.packet.protocol == "SCTP":
            # Linux' SCTP takes an unreachable port for a hint, and tries again until its time is over.
            return answer.result in ("refused", "timed out")
        case Verdict.REJECT:
            return answer.result == "refused"
        case Verdict.ANSWER:
            return answer.ok
        case Verdict.DROP if line.packet.local and line.packet.protocol == "UDP":
            # What is dropped on its way out the sender hears of at once: send() fails with EPERM, like a refusal.
            return answer.result == "refused"
        case Verdict.DROP:
            return answer.result == "timed out"
        case _:
            return not answer.ok


def _is_expected(line: Expectation, answer: Answer, handled_by: str) -> bool:
    """Whether one of the line's backends answered, and saw the address that the line says."""
    name, _, port = answer.pod.rpartition(":")
    seen_as_node = answer.client_address in addresses_of(STAGE.node(handled_by))
    for address, number, masquerade in line.backends:
        if (address, number) == (PLACES[name].facing(line.packet.destination), int(port)):
            return seen_as_node if masquerade else answer.client_address == line.packet.source
    return False
