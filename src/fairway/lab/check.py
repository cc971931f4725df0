"""Check every Service of a lab with real connections, and tell what came of it.

Rules reach the nodes a moment after the objects change, so what is wrong is asked again, with the objects read anew,
until it is right or the patience ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fairway.client.http import Client
from fairway.diagnose.cluster import Cluster, Networks
from fairway.diagnose.read import from_api
from fairway.diagnose.told import ask as proxy_settings
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.network import Network
from fairway.lab.probe import Answer, ask
from fairway.lab.questions import Question, problems, questions
from fairway.lab.topology import SERVICE_NETWORK, Topology
from fairway.model.packet import Verdict
from fairway.objects.meta import Key
from fairway.objects.service import ServicePort

_THREADS = 4
_PAUSE = 0.05
_TIMEOUT = 2.0
# Nobody answers a dropped packet, however long one waits.
_DROP_TIMEOUT = 0.3


@dataclass(frozen=True)
class PortReport:
    """What came of one port of one Service.

    ``backends`` counts its pods by node, ``spread`` the connections by the pod that answered. ``asked`` and ``right``
    count questions (from one place to one address), not connections.
    """

    service: Key
    type: str
    cluster_ip: str
    port: str
    node_port: int
    backends: Mapping[str, int]
    asked: int
    right: int
    spread: Mapping[str, int]
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.right == self.asked and not self.problems


@dataclass(frozen=True)
class Report:
    """The whole check; ``connections`` counts the attempts, ``seconds`` is how long it took until all was right."""

    ports: tuple[PortReport, ...]
    connections: int
    seconds: float

    @property
    def passed(self) -> bool:
        return all(port.passed for port in self.ports)


@dataclass
class _Findings:
    answers: dict[Question, Sequence[Answer]] = field(default_factory=dict)
    wrong: dict[Question, list[str]] = field(default_factory=dict)
    connections: int = 0

    def note(self, question: Question, answers: Sequence[Answer]) -> None:
        self.connections += len(answers)
        self.answers[question] = answers
        found = problems(question, answers)
        if found:
            self.wrong[question] = found
        else:
            self.wrong.pop(question, None)

    def keep_only(self, current: Iterable[Question]) -> None:
        """Forget what is no longer asked: the objects have changed."""
        current = set(current)
        self.answers = {question: answers for question, answers in self.answers.items() if question in current}
        self.wrong = {question: words for question, words in self.wrong.items() if question in current}


async def check(client: Client, network: Network, *, patience: float = 10.0) -> Report:
    """Ask every question; ``patience``: seconds until what is wrong stays wrong. Raises what the client raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    findings = _Findings()
    networks = Networks(services=(str(SERVICE_NETWORK),))
    relays = await asyncio.to_thread(_relaying_nodes, network)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
        while True:
            cluster = await from_api(client, networks)
            cluster.relays = relays
            current = questions(cluster, network.topology)
            findings.keep_only(current)
            due = [one for one in current if one in findings.wrong or one not in findings.answers]
            asked = [loop.run_in_executor(pool, _ask, network.place(one.place), one) for one in due]
            for question, answers in zip(due, await asyncio.gather(*asked), strict=True):
                findings.note(question, answers)
            elapsed = loop.time() - started
            if not findings.wrong or elapsed > patience:
                return Report(tuple(_reports(cluster, network.topology, findings)), findings.connections, elapsed)
            await asyncio.sleep(_PAUSE)


def _relaying_nodes(network: Network) -> frozenset[str]:
    """Those whose proxies say so: their backends see the node where those of others see the client."""
    told = {node.name: proxy_settings(network.place(node.name)) for node in network.topology.nodes}
    return frozenset(name for name, settings in told.items() if settings and settings.node.relays)


def _ask(namespace: NetworkNamespace, question: Question) -> list[Answer]:
    """Ask as often as the question wants, entering the namespace once; stop at the first answer that settles it."""

    def call() -> list[Answer]:
        timeout = _DROP_TIMEOUT if question.outcome.verdict is Verdict.DROP else _TIMEOUT
        answers: list[Answer] = []
        for _ in range(question.times):
            answers.append(
                ask(
                    None,
                    question.address,
                    question.port,
                    protocol=question.protocol,
                    language=question.language,
                    timeout=timeout,
                )
            )
            if question.targets and not answers[-1].ok:
                break
        return answers

    return namespace.run(call)


def _reports(cluster: Cluster, topology: Topology, findings: _Findings) -> Iterable[PortReport]:
    by_port: dict[tuple[Key, str], list[Question]] = {}
    for question in findings.answers:
        by_port.setdefault((question.service, question.port_name), []).append(question)
    for key, service in sorted(cluster.services.items()):
        for port in service.spec.ports or ():
            mine = by_port.get((key, port.name), [])
            if mine:
                yield _report(key, service.spec.type, service.spec.cluster_ip, port, mine, findings, topology)


def _report(
    key: Key,
    type_: str,
    cluster_ip: str,
    port: ServicePort,
    mine: list[Question],
    findings: _Findings,
    topology: Topology,
) -> PortReport:
    spread = Counter(answer.pod for one in mine for answer in findings.answers[one] if answer.ok)
    targets = {target for one in mine for target, _ in one.targets}
    return PortReport(
        service=key,
        type=type_,
        cluster_ip=cluster_ip,
        port=f"{port.port}/{port.protocol}" + (f" {port.name}" if port.name else ""),
        node_port=port.node_port,
        backends={node.name: sum(target.node == node.name for target in targets) for node in topology.nodes},
        asked=len(mine),
        right=sum(one not in findings.wrong for one in mine),
        spread=dict(sorted(spread.items())),
        problems=tuple(words for one in mine for words in findings.wrong.get(one, ())),
    )
