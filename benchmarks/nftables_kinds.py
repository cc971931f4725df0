"""What the first frontend of each kind costs in a cluster that has none of it, and what the next ones cost.

    sudo .venv/bin/python benchmarks/nftables_kinds.py --services 10000 --backends 10 --like affinity

A frontend of a made-up cluster becomes one of a kind: the first of it, then three more. ``--like`` makes all of the
cluster alike beforehand. Runs in a network namespace of its own and leaves nothing behind. Prints one JSON document:
microseconds until a change is compiled, planned, sent, committed and acknowledged; as ``next`` the median of those
after the first. All of it several times (``--repeat``), and the median of each.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event
from typing import Any

from msgspec.structs import replace

from fairway.kernel import namespaces
from fairway.kernel.contract import Opened
from fairway.model.view import (
    HASH,
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Pool,
)
from fairway.proxy.kernels import open_mode

SETTINGS = NodeSettings(name="node-1", addresses=("192.0.2.1",), pod_networks=("10.128.0.0/9",))
_STAY = Action(kind=ActionKind.FORWARD)
_HERE = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL)
_OF_EACH = 4
_QUIET_SECONDS = 0.5
"""The kernel's workers put a load away meanwhile."""

Kind = Callable[[Frontend], Frontend]
KINDS: dict[str, Kind] = {
    "backend": lambda one: replace(one, cluster=one.cluster[1:]),
    "number": lambda one: replace(one, cluster=(*one.cluster, *(_backend(4_000_000 + n) for n in range(3)))),
    "weights": lambda one: replace(one, cluster=(replace(one.cluster[0], weight=5), *one.cluster[1:])),
    "hash": lambda one: replace(one, balancing=HASH),
    "affinity": lambda one: replace(one, affinity_seconds=10_800),
    "timeout": lambda one: replace(one, affinity_seconds=60),
    "local": lambda one: replace(one, local=one.cluster[:1], pod=_HERE, node=_HERE),
    "ranges": lambda one: replace(one, source_ranges=("203.0.113.0/24", "198.51.100.0/28")),
    "nobody": lambda one: replace(one, cluster=()),
}


def measure(opened: Opened, services: int, backends: int, like: str) -> dict[str, dict[str, float]]:
    """Times by kind, in microseconds."""
    mode, kernel = opened.mode, opened.kernel
    made = KINDS[like] if like else (lambda one: one)
    frontends = [made(_frontend(number, backends)) for number in range(services)]
    view = NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})
    program = mode.program(view)
    kernel.apply(mode.plan(kernel.read_back(), program))
    gc.collect()
    gc.freeze()
    Event().wait(_QUIET_SECONDS)
    found: dict[str, dict[str, float]] = {}
    left = iter(frontends)
    for name, kind in KINDS.items():
        seconds = [_change(opened, program, kind(next(left))) for _ in range(_OF_EACH)]
        found[name] = {"first": seconds[0] * 1e6, "next": statistics.median(seconds[1:]) * 1e6}
    return found


def _change(opened: Opened, program: Any, wanted: Frontend) -> float:
    start = time.perf_counter()
    fragments = {wanted.key: opened.mode.compile(wanted, SETTINGS, program)}
    opened.kernel.apply(opened.mode.plan_changes(program, fragments))
    opened.mode.accept(program, fragments)
    return time.perf_counter() - start


def _frontend(number: int, backends: int) -> Frontend:
    first = number * backends
    return Frontend(
        kind=FrontendKind.LOAD_BALANCER,
        address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        protocol="TCP",
        port=80,
        service=Key("shop", f"service-{number}"),
        port_name="http",
        field="spec.ports[0]",
        cluster=tuple(_backend(first + n) for n in range(backends)),
        pod=_STAY,
        node=_STAY,
        outside=_STAY,
    )


def _backend(number: int) -> Backend:
    address = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return Backend(address=address, port=8080, node="node-2", slice="x7k2p")


def _run(services: int, backends: int, like: str) -> dict[str, dict[str, float]]:
    with ExitStack() as stack:
        namespace = stack.enter_context(namespaces.created(f"fw-kinds-{os.getpid()}"))
        opened = namespace.run(lambda: stack.enter_context(open_mode("nftables")))
        return measure(opened, services, backends, like)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--backends", type=int, default=10, help="of each Service")
    parser.add_argument("--like", choices=KINDS, default="", help="what all Services are beforehand")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    runs = [_run(arguments.services, arguments.backends, arguments.like) for _ in range(arguments.repeat)]
    found = {
        name: {which: round(statistics.median(run[name][which] for run in runs)) for which in ("first", "next")}
        for name in KINDS
    }
    print(json.dumps({"kernel": platform.release(), **vars(arguments), "microseconds": found}, indent=2))


if __name__ == "__main__":
    main()
