"""Send what a journey only tells: real connections in a lab, held against the prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.diagnose.cluster import Cluster
from fairway.diagnose.journey import Journey
from fairway.lab.network import Network
from fairway.lab.ports import Language
from fairway.lab.probe import Answer, Result, ask
from fairway.lab.questions import Target, targets, wrong_answers
from fairway.lab.topology import OUTSIDE_CLIENT, Topology
from fairway.model.packet import Verdict

_TIMEOUT = 1.0
_EXPECTED: dict[Verdict, tuple[Result, ...]] = {
    Verdict.REJECT: ("refused",),
    Verdict.DROP: ("timed out",),
    Verdict.ANSWER: ("answered",),
}


@dataclass(frozen=True)
class Followed:
    """What came of the connections: how often each pod answered or what else happened, and what was not foreseen."""

    counts: Mapping[str, int]
    seen: frozenset[str]
    surprises: tuple[str, ...]
    judged: bool = True
    """False when nothing was predicted: what listens on an address that is no Service's, nobody told us."""


def place_names(topology: Topology) -> dict[str, str]:
    """The lab's own clients, which the API does not know: their names and addresses."""
    return {"outside": OUTSIDE_CLIENT, **{node.client.name: node.client.address for node in topology.nodes}}


def follow(journey: Journey, cluster: Cluster, network: Network, times: int) -> Followed:
    """Connect ``times`` times from where the journey starts. Raises `LabError` when that is not in the lab."""
    place = network.place(_place(journey.start.address, journey.start.name, network.topology))
    target = journey.target
    expected = _expected(journey, cluster)
    language: Language = next((one.language for one, _ in expected), "line")
    answers = [
        ask(place, target.address, target.port, protocol=target.protocol, language=language, timeout=_TIMEOUT)
        for _ in range(times)
    ]
    counts = Counter(answer.pod if answer.ok else answer.result for answer in answers)
    seen = frozenset(answer.client_address for answer in answers if answer.ok)
    wrong = tuple(dict.fromkeys(surprises(journey, expected, answers)))
    judged = bool(expected) or journey.outcome.verdict is not Verdict.PASS
    return Followed(dict(counts.most_common()), seen, wrong, judged)


def _place(address: str, name: str, topology: Topology) -> str:
    """The lab's word for where a journey starts: ``pod shop/cart-1``, ``node node-1``, or a client's address."""
    for place, own in place_names(topology).items():
        if own == address:
            return place
    return name.partition(" ")[2]


def _expected(journey: Journey, cluster: Cluster) -> list[tuple[Target, bool]]:
    known = dict(targets(cluster))
    protocol = journey.target.protocol
    found = [
        (target, choice.masquerade)
        for choice in journey.outcome.choices
        if journey.returns(choice) and (target := known.get((choice.backend.address, choice.backend.port, protocol)))
    ]
    direct = known.get((journey.target.address, journey.target.port, protocol))
    return found or ([(direct, False)] if direct else [])


def surprises(journey: Journey, expected: list[tuple[Target, bool]], answers: list[Answer]) -> list[str]:
    """What happened to real connections that the journey did not foresee, in words.

    ``expected`` are the pods that may answer, each with whether it must see another address than the client's.
    """
    wanted = _foreseen(journey)
    if wanted:
        words = " or ".join(wanted)
        return [f"{one.pod or 'it'} {one.result}, foreseen: {words}" for one in answers if one.result not in wanted]
    if not expected:
        return _deaf_backends(journey, answers)
    if not all(map(journey.returns, journey.outcome.choices)):
        # who was led to one of the others hears nothing; with session affinity that is everybody, or nobody
        answers = [one for one in answers if one.result != "timed out"]
    if journey.start.local:  # masqueraded or not, what is seen is an address of this node
        return list(wrong_answers([(target, True) for target, _ in expected], "", answers))
    return list(wrong_answers(expected, journey.start.address, answers))


def _foreseen(journey: Journey) -> tuple[Result, ...]:
    """How the connections must end, if no backend's answer is expected: refused, dropped, answered by the node itself,
    or by a backend over a way that does not lead back."""
    outcome = journey.outcome
    if outcome.verdict is Verdict.DELIVER and not any(journey.returns(choice) for choice in outcome.choices):
        return ("timed out",)
    if outcome.verdict is Verdict.REJECT and journey.target.protocol == "SCTP":
        # Linux' SCTP takes an unreachable port for a hint, and tries again until its time is over.
        return "refused", "timed out"
    return ("refused",) if journey.fails_to_leave else _EXPECTED.get(outcome.verdict, ())


def _deaf_backends(journey: Journey, answers: list[Answer]) -> list[str]:
    """The Service delivers, but to a port where no container of the lab listens: a wrong targetPort, most often."""
    if journey.outcome.verdict is not Verdict.DELIVER:
        return []
    ports = ", ".join(sorted({str(choice.backend.port) for choice in journey.outcome.choices}))
    return [
        f"{one.result}: it is delivered, but no container listens on port {ports}; is targetPort right?"
        for one in answers
        if not one.ok
    ]
