"""Every scenario in one mode with real packets, and the report of it.

STAGE ──▶ namespaces of our own ──▶ scenario after scenario ──▶ passed, failed, not applicable
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from fairway.conform.scenario import STAGE, Scenario, ScenarioError, scenarios
from fairway.conform.stage import AnyMode, Stage, built
from fairway.kernel.contract import ApplyFailed
from fairway.lab.network import Network
from fairway.lab.running import RunningNetwork
from fairway.lab.state import State
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of one scenario. ``reason`` says what failed, or why it is not applicable; empty when it passed."""

    name: str
    asserts: str = ""
    proves: tuple[str, ...] = ()
    """Rows of the reference's own list of tests."""
    reason: str = ""


class Report(msgspec.Struct, kw_only=True):
    """What came of all of them. It is a success when nothing has failed."""

    mode: str
    packets: int = 0
    """How many were judged; one that may go several ways is sent several times."""
    passed: list[Result] = []
    failed: list[Result] = []
    not_applicable: list[Result] = []
    not_sent: list[Result] = []
    """Scenarios that passed or failed without some of their packets, and why these could not be sent."""


def chosen(names: Iterable[str]) -> tuple[Scenario, ...]:
    """The scenarios of these names, all of them when there are none; raises `ScenarioError` for an unknown one."""
    known = {one.name: one for one in scenarios()}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        near = " or ".join(difflib.get_close_matches(unknown[0], known)) or ", ".join([*list(known)[:3], "…"])
        raise ScenarioError(f"no scenario is called {unknown[0]!r}; there is {near} (--list names all)")
    return tuple(known[name] for name in wanted or known)


def conform(
    mode: AnyMode,
    played: Iterable[Scenario],
    say: Callable[[str, Result], None],
    document: KubeProxyConfiguration = DEFAULTS,
) -> Report:
    """Play the scenarios on a stage made for it; ``say`` hears of each as it is done, with its list's name.

    The document tunes the mode, as it does a proxy.

    Raises `fairway.kernel.contract.Unsuitable` when this machine's kernel cannot do the mode, and
    `fairway.lab.errors.LabError` when it cannot carry the stage.
    """
    report = Report(mode=mode.name)
    with _network() as network, built(network, mode, document) as stage:
        for scenario in played:
            kind, result = _result(stage, scenario)
            getattr(report, kind).append(result)
            if kind != "not_applicable":
                _count(report, scenario, stage.protocols)
            say(kind, result)
    return report


def _count(report: Report, scenario: Scenario, sendable: Container[str]) -> None:
    protocols = [line.packet.protocol for step in scenario.steps for line in step.expectations]
    missing = sorted(one for one in protocols if one not in sendable)
    report.packets += len(protocols) - len(missing)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        packets = f"{len(missing)} packet" + ("s" if len(missing) > 1 else "")
        report.not_sent.append(Result(name=scenario.name, reason=f"{packets}: this kernel has no {names} sockets"))


def _result(stage: Stage, scenario: Scenario) -> tuple[str, Result]:
    told = scenario.description
    result = Result(name=scenario.name, asserts=told.asserts, proves=told.proves)
    if because := scenario.not_applicable(stage.mode.name):
        return "not_applicable", msgspec.structs.replace(result, reason=because)
    for step in scenario.steps:
        try:
            wrong = stage.play(step)
        except ApplyFailed as error:
            wrong = [f"{step.name}: the kernel refused the program: {error}"]
        if wrong:
            return "failed", msgspec.structs.replace(result, reason="\n\n".join(wrong))
    return "passed", result


@contextmanager
def _network() -> Iterator[RunningNetwork]:
    """Namespaces under a name of our own, written down so that `fairway lab down` clears away what a kill leaves."""
    topology = replace(STAGE, name=f"conform-{os.getpid()}")
    state = State(topology.name)
    state.claim(topology)
    try:
        with Network(topology) as made, RunningNetwork(made) as network:
            yield network
    finally:
        state.remove()
