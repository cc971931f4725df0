"""What to ask a cluster to know that its Services work, and whether the answers are right. Pure.

The expectation of each question is not written down anywhere: it is what `decide` says about that packet on that node.
So the check of a lab is the law of the house with real packets: the model and the kernel must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairway.diagnose.cluster import Cluster
from fairway.lab.ports import Language, ServedPort, served_ports
from fairway.lab.probe import Answer
from fairway.lab.topology import OUTSIDE_CLIENT, Topology
from fairway.model.decide import decide
from fairway.model.packet import Choice, Outcome, Packet, Verdict
from fairway.model.view import Backend, Frontend, FrontendKind, NodeView
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.service import Service

# How sure we want to be that a backend which never answered is really left out: one false alarm in a million.
_DOUBT = 1e-6
_MOST_DRAWS = 500
_REFUSALS = 2


@dataclass(frozen=True)
class Target:
    """A port of a pod that may answer."""

    pod: str
    node: str
    language: Language


@dataclass(frozen=True)
class Question:
    """Ask ``address:port`` from a place (with address ``source``), several times.

    ``targets`` are the pods that may answer, each with whether it must see another address than ours; with none, the
    answer must be the refusal that ``outcome`` names.
    """

    service: Key
    port_name: str
    kind: str
    place: str
    source: str
    address: str
    port: int
    protocol: str
    outcome: Outcome
    targets: tuple[tuple[Target, bool], ...] = ()
    sticky: bool = False

    @property
    def language(self) -> Language:
        return self.targets[0][0].language if self.targets else "line"

    @property
    def times(self) -> int:
        """How often to ask, so that a backend in use will have answered at least once."""
        if self.outcome.verdict is not Verdict.DELIVER:
            return _REFUSALS
        return draws(len(self.targets))

    def __str__(self) -> str:
        return f"{self.place} to {self.address}:{self.port}/{self.protocol}"


def draws(backends: int) -> int:
    """How many connections show every one of so many equally likely backends, but for one time in a million.

    >>> draws(1), draws(2), draws(3)
    (2, 21, 37)
    """
    if backends < 2:
        return 2
    needed = math.log(backends / _DOUBT) / -math.log1p(-1 / backends)
    return min(math.ceil(needed), _MOST_DRAWS)


def questions(cluster: Cluster, topology: Topology) -> list[Question]:
    """Every Service port, from a pod on every node; node ports on every node, from outside."""
    return list(_Questions(cluster, topology).all())


def problems(question: Question, answers: Sequence[Answer]) -> list[str]:
    """What is wrong with the answers, each thing once; empty when all is as it should be."""
    match question.outcome.verdict:
        case Verdict.DELIVER:
            found = [
                *wrong_answers(question.targets, question.source, answers),
                *_wrong_spread(question, answers),
            ]
        case Verdict.REJECT:
            found = [_unlike("refused", answer) for answer in answers if answer.result != "refused"]
        case _:
            found = [_unlike("timed out", answer) for answer in answers if answer.result != "timed out"]
    return list(dict.fromkeys(f"{question}: {words}" for words in found))


def wrong_answers(targets: Iterable[tuple[Target, bool]], source: str, answers: Iterable[Answer]) -> Iterator[str]:
    """What is wrong with answers to ``source`` of which only ``targets`` may come, each hiding ``source`` or not."""
    expected = {target.pod: hidden for target, hidden in targets}
    for answer in answers:
        if not answer.ok:
            yield f"{answer.result}, expected an answer of {', '.join(sorted(expected))}"
        elif answer.pod not in expected:
            yield f"{answer.pod} answered, which is none of {', '.join(sorted(expected))}"
        elif expected[answer.pod] == (answer.client_address == source):
            seen = "the node's" if expected[answer.pod] else "ours"
            yield f"{answer.pod} saw the address {answer.client_address}, expected {seen}"


def _wrong_spread(question: Question, answers: Sequence[Answer]) -> Iterator[str]:
    seen = {answer.pod for answer in answers if answer.ok}
    if question.sticky:
        if len(seen) > 1:
            yield f"{', '.join(sorted(seen))} answered one client in turn, in spite of sessionAffinity: ClientIP"
        return
    missing = sorted({target.pod for target, _ in question.targets} - seen)
    if seen and missing and len(question.targets) < _MOST_DRAWS // 20:
        yield f"{', '.join(missing)} never answered in {len(answers)} connections"


def _unlike(expected: str, answer: Answer) -> str:
    return f"{answer.pod or 'it'} {answer.result}, expected: {expected}"


class _Questions:
    def __init__(self, cluster: Cluster, topology: Topology) -> None:
        self._cluster = cluster
        self._nodes = [node for node in topology.nodes if node.name in cluster.nodes]
        self._views = {node.name: cluster.view(node.name) for node in self._nodes}
        self._targets = dict(targets(cluster))

    def all(self) -> Iterator[Question]:
        for node in self._nodes:
            for frontend in self._views[node.name].frontends.values():
                if frontend.kind is FrontendKind.CLUSTER_IP:
                    yield from self._ask(frontend, node.client.name, node.client.address, node.name, frontend.address)
                elif frontend.kind is FrontendKind.NODE_PORT:
                    yield from self._ask(frontend, "outside", OUTSIDE_CLIENT, node.name, node.address)
        for service in self._cluster.services.values():
            if service.headless:
                yield from self._headless(service)

    def _ask(self, frontend: Frontend, place: str, source: str, node: str, address: str) -> Iterator[Question]:
        """One question, unless its backends are not of this lab: nobody knows what those would answer."""
        view: NodeView = self._views[node]
        packet = Packet(source=source, destination=address, protocol=frontend.protocol, port=frontend.port)
        outcome = decide(view, packet)
        targets = tuple(
            (target, choice.masquerade)
            for choice in outcome.choices
            if (target := self._target(choice.backend, frontend.protocol)) is not None
        )
        if len(targets) == len(outcome.choices) and outcome.frontend == frontend.key:
            yield Question(
                service=frontend.service,
                port_name=frontend.port_name,
                kind=str(frontend.kind),
                place=place,
                source=source,
                address=address,
                port=frontend.port,
                protocol=frontend.protocol,
                outcome=outcome,
                targets=targets,
                sticky=frontend.affinity_seconds > 0,
            )

    def _headless(self, service: Service) -> Iterator[Question]:
        """No address to ask: its pods answer themselves, as DNS would tell clients to ask them."""
        for slice_ in self._cluster.slices.get(service.key, ()):
            for backend, port_name, protocol in _backends(slice_):
                target = self._target(backend, protocol)
                if target is None:
                    continue
                outcome = Outcome(
                    verdict=Verdict.DELIVER,
                    because="a headless Service has no address of its own",
                    choices=(Choice(backend, False),),
                )
                for node in self._nodes:
                    yield Question(
                        service=service.key,
                        port_name=port_name,
                        kind="headless",
                        place=node.client.name,
                        source=node.client.address,
                        address=backend.address,
                        port=backend.port,
                        protocol=protocol,
                        outcome=outcome,
                        targets=((target, False),),
                    )

    def _target(self, backend: Backend, protocol: str) -> Target | None:
        return self._targets.get((backend.address, backend.port, protocol))


def targets(cluster: Cluster) -> Iterator[tuple[tuple[str, int, str], Target]]:
    """Whoever may answer on ``address, port, protocol``."""
    for pod in cluster.pods.values():
        port: ServedPort
        for port in served_ports(pod):
            for address in pod.addresses:
                target = Target(pod.metadata.name, pod.spec.node_name, port.language)
                yield (address, port.number, port.protocol), target


def _backends(slice_: EndpointSlice) -> Iterator[tuple[Backend, str, str]]:
    for endpoint in slice_.endpoints or ():
        for port in slice_.ports or ():
            if endpoint.ready and endpoint.addresses and port.port:
                backend = Backend(address=endpoint.addresses[0], port=port.port, node=endpoint.node_name or "")
                yield backend, port.name or "", port.protocol
