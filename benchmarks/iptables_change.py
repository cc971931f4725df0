"""What one change costs in iptables, sent our way and the way of the reference, side by side in one run.

    sudo .venv/bin/python benchmarks/iptables_change.py --services 1000 --services 5000 --variant nft --variant legacy

Three ways to say that a Service has another backend, each by one `iptables-restore --noflush`, in turn:

    tree     our plan, in the form with dispatch trees
    flat     our plan, in kube-proxy's form
    whole    kube-proxy's form as kube-proxy 1.36 says it: all of KUBE-SERVICES again, and the Service's chains

and the same for one Service more; and the first load, as it is sent and, of few Services, in one commit. Runs in
network namespaces of its own and leaves nothing behind. Prints one JSON document; times in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from fairway.cli.ending import tidy
from fairway.kernel import namespaces
from fairway.kernel.xtables import Tools, Variant
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.iptables import IptablesMode, Options, Program
from fairway.modes.iptables.commands import AddRule, MakeChain, Plan
from fairway.modes.xtables import Family, Place

FAMILY: Family = "ip"
_MOST_IN_ONE_COMMIT = 1000
"""Services; of more nobody wants to wait for the end."""
SETTINGS = NodeSettings(name="node-1", addresses=("127.0.0.1", "192.168.0.2"), pod_networks=("10.128.0.0/9",))
_STAY = Action(kind=ActionKind.FORWARD)
_HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)


def frontend(number: int, backends: int) -> Frontend:
    first = number * backends
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=f"10.96.{number >> 8 & 255}.{number & 255}",
        protocol="TCP",
        port=80,
        service=Key("shop", f"service-{number}"),
        port_name="http",
        cluster=tuple(
            Backend(address=f"10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", port=8080, node="node-2")
            for n in range(first, first + backends)
        ),
        pod=_STAY,
        node=_HIDE,
        outside=_HIDE,
    )


def measure(variant: Variant, services: int, backends: int, rounds: int) -> dict[str, Any]:
    frontends = (frontend(number, backends) for number in range(services))
    view = NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})
    found: dict[str, list[float]] = {}
    loads: dict[str, float] = {}
    name = f"fairway-bench-{os.getpid()}-{variant}"
    with namespaces.created(f"{name}-tree") as one, namespaces.created(f"{name}-flat") as two:
        tools = Tools(variant, (FAMILY,))
        ways = {}
        for form, place in (("tree", one), ("flat", two)):
            mode = IptablesMode(Options(flat=form == "flat", families=(FAMILY,)))
            program = mode.program(view)
            plan = mode.plan(mode.empty(), program)
            text = plan.text(FAMILY, tools.chains_at_once)
            loads[form] = place.run(partial(timed, partial(tools.restore, FAMILY, text)))
            if form == "tree" and services <= _MOST_IN_ONE_COMMIT:
                with namespaces.created(f"{name}-once") as other:
                    loads["tree in one commit"] = other.run(
                        partial(timed, partial(tools.restore, FAMILY, plan.text(FAMILY)))
                    )
            ways[form] = (place, mode, program)
        for number in range(rounds):
            step(ways, tools, found, number * 7 % services, backends)
    return {
        "variant": variant,
        "services": services,
        "backends_each": backends,
        "load_seconds": {name: round(seconds / 1000, 2) for name, seconds in loads.items()},
        "one_change_ms": {name: spread(some) for name, some in sorted(found.items())},
        "whole_against_tree": ratio(found, "endpoint whole", "endpoint tree"),
        "whole_against_flat": ratio(found, "endpoint whole", "endpoint flat"),
    }


def step(ways: dict[str, Any], tools: Tools, found: dict[str, list[float]], number: int, backends: int) -> None:
    """A backend leaves and comes back, a Service comes and goes; each way in turn, so that the machine is fair."""
    before, new = frontend(number, backends), frontend(60_000 + number, backends)
    after = replace(before, cluster=before.cluster[1:])
    for what, frontends in (
        ("endpoint", ((before.key, after), (before.key, before))),
        ("service", ((new.key, new), (new.key, None))),
    ):
        for key, one in frontends:
            for name, (place, mode, program) in ways.items():
                changes = {key: mode.compile(one, SETTINGS) if one else None}
                plan = mode.plan_changes(program, changes)
                run(place, tools, found, f"{what} {name}", plan)
                mode.accept(program, changes)
                if name == "flat":
                    # The same state said again, whole: what the reference sends for such a change.
                    run(place, tools, found, f"{what} whole", whole(program, plan))


def run(place: Any, tools: Tools, found: dict[str, list[float]], name: str, plan: Plan) -> None:
    text = plan.text(FAMILY)
    found.setdefault(name, []).append(place.run(lambda: timed(lambda: tools.restore(FAMILY, text))))


def whole(program: Program, plan: Plan) -> Plan:
    """All of KUBE-SERVICES, and whole the chains that a plan touches."""
    state = program.state()[FAMILY]
    places = dict.fromkeys([Place("nat", "KUBE-SERVICES"), *(Place(one.table, one.chain) for one in plan.commands)])
    commands: list[Any] = [MakeChain(FAMILY, *place) for place in places if place in state]
    commands += [AddRule(FAMILY, *place, rule) for place in places for rule in state.get(place, ())]
    return Plan(tuple(commands))


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def spread(some: list[float]) -> dict[str, float]:
    ordered = sorted(some)
    return {"p50": round(statistics.median(ordered), 2), "worst": round(ordered[-1], 2)}


def ratio(found: dict[str, list[float]], one: str, other: str) -> float:
    return round(statistics.median(found[one]) / statistics.median(found[other]), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, action="append")
    parser.add_argument("--backends", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--variant", choices=("nft", "legacy"), action="append")
    asked = parser.parse_args()
    with tidy():
        found = [
            measure(variant, services, asked.backends, asked.rounds)
            for variant in asked.variant or ("nft", "legacy")
            for services in asked.services or (100, 1000, 5000)
        ]
    kernel = platform.release().partition("-")[0]
    print(json.dumps({"kernel": kernel, "load": round(os.getloadavg()[0], 1), "runs": found}, indent=1))


if __name__ == "__main__":
    main()
