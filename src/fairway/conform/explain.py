"""What is said of a packet that went wrong: what was expected, what came, and its way through the rules."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.conform.scenario import PLACES, Expectation
from fairway.model.packet import Outcome, Trace, Verdict

_NAMES = {address: name for name, place in PLACES.items() for address in place.addresses}


def describe(verdict: Verdict, backends: Iterable[tuple[str, int, bool]]) -> str:
    """``deliver web-1:8080 as client``, in the words of packets.txt."""
    words = [verdict.value]
    for address, port, masquerade in sorted(backends, key=lambda one: (one[2], one)):
        words.append(f"{_NAMES.get(address, address)}:{port} as {'node' if masquerade else 'client'}")
    return " ".join(words)


def explain(line: Expectation, came: Outcome | str, traces: Iterable[Trace] = ()) -> str:
    """The message of a failed assertion about a packet."""
    answer = came if isinstance(came, str) else f"{describe(*came.essence)} ({came.because})"
    told = [
        f"{line.place}: {line.packet} from {line.client}",
        f"  expected {describe(*line.essence)}",
        f"  came     {answer}",
    ]
    for trace in traces:
        told += ["", *draw(trace)]
    return "\n".join(told)


def draw(trace: Trace) -> list[str]:
    """A trace, one line a step: where, what the rule says, what it did, and the field that caused it."""
    lines = [f"  {trace.packet}{' (sent by the node itself)' if trace.packet.local else ''}"]
    for step in trace.steps:
        origin = f"   because of {step.origin}" if step.origin else ""
        lines.append(f"    {step.where:<24} {step.what}  =>  {step.effect}{origin}")
    lines.append(f"    {describe(*trace.outcome.essence)} ({trace.outcome.because})")
    return lines
