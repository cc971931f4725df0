"""A journey in sentences for people, and as a document for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.diagnose.cluster import Cluster
from fairway.diagnose.journey import Hop, Journey, after_pass, frontend_words
from fairway.diagnose.remarks import remarks
from fairway.model.decide import client_of
from fairway.model.packet import ICMP, Choice, Step, Verdict
from fairway.model.view import Client, Frontend
from fairway.objects.codec import Document
from fairway.objects.printing import one_line

_CLIENTS = {
    Client.POD: "a pod of the cluster",
    Client.NODE: "the node itself",
    Client.OUTSIDE: "a client outside the cluster",
}
_ENDS = {
    Verdict.REJECT: "refused at once (the client sees: connection refused)",
    Verdict.DROP: "dropped without an answer (the client waits until it times out)",
    Verdict.ANSWER: "answered by this node itself",
}
_FAILS_TO_LEAVE = "dropped on its way out (the sender is told at once: operation not permitted)"


def explain(journey: Journey, cluster: Cluster) -> str:
    """The whole journey as text: the packet, each node's steps, and the verdict."""
    target = journey.target
    what = "ping" if target.protocol == ICMP else f"{target.protocol.lower()} {target.port}"
    lines = [f"{journey.start.name}  ->  {target.name} {what}"]
    for hop in journey.hops:
        lines += ["", *_hop_lines(hop)]
    lines += ["", *verdict_lines(journey, cluster)]
    return "\n".join(map(one_line, lines))


def _hop_lines(hop: Hop) -> Iterator[str]:
    packet = hop.trace.packet
    client = _CLIENTS[client_of(packet, hop.view.settings)]
    yield f"on node {hop.node}: {packet}   (from {client})"
    for where, rules in _by_rule(hop.trace.steps).items():
        yield f"  {where}"
        for rule, effects in rules.items():
            yield f"    {rule}"
            yield from (f"      {effect}" for effect in effects)
    if hop.outcome.verdict is Verdict.PASS:
        yield "  no rule of a Service applies here"


def _by_rule(steps: Iterable[Step]) -> dict[str, dict[str, list[str]]]:
    """Chain → rule → what it did, each once: the ways of several choices differ in a few steps only."""
    found: dict[str, dict[str, list[str]]] = {}
    for step in steps:
        effects = found.setdefault(step.where, {}).setdefault(step.what, [])
        effect = f"{step.effect}   [{step.origin}]" if step.origin else step.effect
        # A rule that says itself what it does needs no second line.
        if effect and not step.what.endswith(effect) and effect not in effects:
            effects.append(effect)
    return found


def verdict_lines(journey: Journey, cluster: Cluster) -> Iterator[str]:
    """How it ends and why, with every backend that may answer."""
    hop = journey.hops[-1]
    outcome = hop.outcome
    if outcome.frontend is not None:
        frontend = hop.view.frontends[outcome.frontend]
        yield f"{frontend_words(hop, outcome.frontend)}, because of {frontend.origin}"
    if outcome.verdict is Verdict.DELIVER:
        count = len(outcome.choices)
        relayed = outcome.frontend is not None and hop.view.frontends[outcome.frontend].relaying is not None
        drawn = "chosen by the relay" if relayed else "drawn at random"
        if seconds := _kept(journey):
            drawn += f" and kept for {seconds} s (sessionAffinity)"
        how = _picked(journey) or ("its only backend" if count == 1 else f"one of {count} backends, {drawn}")
        yield f"delivered to {how}: {outcome.because}"
        names = cluster.names()
        assert outcome.frontend is not None
        alike = len({choice.share for choice in outcome.choices}) == 1
        whole = sum(choice.share for choice in outcome.choices)
        for choice in outcome.choices:
            share = "" if alike else f", {100 * choice.share / whole:.3g} % of the connections"
            yield "  " + _choice_words(choice, hop, names) + share
            if not journey.returns(choice):
                yield f"    but answers directly, not through {hop.node}: the client never sees an answer it knows"
    elif outcome.verdict is Verdict.PASS:
        yield f"not for a Service ({outcome.because}): {after_pass(cluster, hop.trace.packet)}"
    else:
        end = _FAILS_TO_LEAVE if journey.fails_to_leave else _ENDS[outcome.verdict]
        yield f"{end}: {outcome.because}"
    yield from remarks(hop, cluster)
    yield from (f"not served as it is written: {one}" for one in problems(journey, cluster))


def _kept(journey: Journey) -> int:
    """For how many seconds after its last connection a client keeps its backend; 0 where it does not."""
    hop = journey.hops[-1]
    return hop.view.frontends[hop.outcome.frontend].affinity_seconds if hop.outcome.frontend is not None else 0


def _picked(journey: Journey) -> str:
    """How many there are to choose from, where the client's address chooses."""
    hop = journey.hops[-1]
    assert hop.outcome.frontend is not None
    frontend = hop.view.frontends[hop.outcome.frontend]
    pool = frontend.pool(frontend.action(client_of(hop.trace.packet, hop.view.settings)).pool)
    return (
        f"the one of {len(pool)} backends that the client's address picks"
        if len(pool) > len(hop.outcome.choices)
        else ""
    )


def problems(journey: Journey, cluster: Cluster) -> list[str]:
    """What is wrong with the Service that the packet is for."""
    hop = journey.hops[-1]
    if hop.outcome.frontend is None:
        return []
    service = hop.view.frontends[hop.outcome.frontend].service
    return [str(one) for one in cluster.problems_of(service, hop.view)]


def _choice_words(choice: Choice, hop: Hop, names: dict[str, str]) -> str:
    backend = choice.backend
    who = names.get(backend.address, backend.target.lower() if backend.target else "")
    seen = f"node {hop.node}'s address" if choice.masquerade else f"the client's address {hop.trace.packet.source}"
    where = f" on {backend.node}" if backend.node else ""
    return f"{backend}  {who}{where}  sees {seen}".replace("   ", " ")


def document(journey: Journey, cluster: Cluster) -> Document:
    """The journey as JSON data: ``from``, ``to``, ``hops`` with their steps, and ``verdict``."""
    return {
        "from": {"name": journey.start.name, "address": journey.start.address, "node": journey.start.node},
        "to": {
            "name": journey.target.name,
            "address": journey.target.address,
            "port": journey.target.port,
            "protocol": journey.target.protocol,
        },
        "hops": [_hop_document(hop) for hop in journey.hops],
        "verdict": str(journey.outcome.verdict),
        "because": journey.outcome.because,
        "summary": list(verdict_lines(journey, cluster)),
        "problems": problems(journey, cluster),
    }


def _hop_document(hop: Hop) -> Document:
    outcome = hop.outcome
    frontend = hop.view.frontends[outcome.frontend] if outcome.frontend else None
    return {
        "node": hop.node,
        "packet": str(hop.trace.packet),
        "client": str(client_of(hop.trace.packet, hop.view.settings)),
        "steps": [
            {
                "where": step.where,
                "rule": step.what,
                "effect": step.effect,
                "origin": str(step.origin) if step.origin else None,
            }
            for step in hop.trace.steps
        ],
        "verdict": str(outcome.verdict),
        "because": outcome.because,
        "frontend": _frontend_document(frontend) if frontend else None,
        "backends": [
            {
                "address": choice.backend.address,
                "port": choice.backend.port,
                "node": choice.backend.node,
                "target": choice.backend.target,
                "masquerade": choice.masquerade,
                "weight": choice.share,
            }
            for choice in outcome.choices
        ],
    }


def _frontend_document(frontend: Frontend) -> Document:
    return {
        "service": str(frontend.service),
        "port": frontend.port_name,
        "kind": str(frontend.kind),
        "address": str(frontend.key),
        "origin": str(frontend.origin),
    }
