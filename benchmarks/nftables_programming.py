"""How fast the nftables mode programs a kernel: a whole cluster from nothing, then one change at a time.

    sudo .venv/bin/python benchmarks/nftables_programming.py --services 10000 --backends 10 --changes 1000

Runs in a network namespace of its own and leaves nothing behind. Prints one JSON document; times in seconds unless
the name says microseconds. A change is a backend that leaves or comes back: compiled, planned, applied, acknowledged.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fairway.kernel import namespaces
from fairway.kernel.nftables import Nftables, requests
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.nftables import NftablesMode, Program

MODE = NftablesMode()
SETTINGS = NodeSettings(
    name="node-1",
    addresses=("127.0.0.1", "192.168.0.2"),
    pod_networks=("10.128.0.0/9",),
    service_networks=("10.0.0.0/9",),
)
_STAY = Action(kind=ActionKind.FORWARD)
_HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)

T = TypeVar("T")


def frontend(number: int, backends: int, without: int = -1) -> Frontend:
    """Service number so-and-so; ``without`` is the backend that has left."""
    first = number * backends
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        protocol="TCP",
        port=80,
        service=Key("shop", f"service-{number}"),
        port_name="http",
        field="spec.ports[0]",
        cluster=tuple(
            Backend(
                address=f"10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}",
                port=8080,
                node="node-2",
                slice=f"service-{number}-x7k2p",
            )
            for n in range(first, first + backends)
            if n != first + without
        ),
        pod=_STAY,
        node=_HIDE,
        outside=_HIDE,
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in microseconds."""
    ordered = sorted(seconds)
    picks = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "worst": len(ordered) - 1}
    return {name: round(ordered[index] * 1e6, 1) for name, index in picks.items()}


def measure(kernel: Nftables, services: int, backends: int, changes: int) -> dict[str, Any]:
    frontends = [frontend(number, backends) for number in range(services)]
    gc.collect()
    gc.freeze()
    view = NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})
    compiling, program = timed(lambda: MODE.program(view))
    planning, plan = timed(lambda: MODE.plan(MODE.empty(), program))
    encoding, messages = timed(lambda: list(requests(plan)))
    applying, _ = timed(lambda: kernel.apply(plan))
    reading, held = timed(kernel.read)
    comparing, drift = timed(lambda: MODE.plan(Program(held, SETTINGS), program))
    return {
        "services": services,
        "backends_each": backends,
        "elements": len(plan),
        "messages": len(messages),
        "from_nothing": {
            "compile": round(compiling, 3),
            "plan": round(planning, 3),
            "encode": round(encoding, 3),
            "apply_with_encode": round(applying, 3),
            "total": round(compiling + planning + applying, 3),
        },
        "adopt": {"read": round(reading, 3), "compare": round(comparing, 3), "drift": len(drift)},
        "one_change_us": dict(change(kernel, program, services, backends, changes)),
    }


def change(
    kernel: Nftables, program: Program, services: int, backends: int, changes: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """One backend leaves or returns, each time at another Service."""
    whole: list[float] = []
    applied: list[float] = []
    for number in range(changes):
        which = (number // 2 * 7919) % services
        wanted = frontend(which, backends, without=3 if number % 2 == 0 else -1)
        start = time.perf_counter()
        fragments = {wanted.key: MODE.compile(wanted, SETTINGS)}
        plan = MODE.plan_changes(program, fragments)
        planned = time.perf_counter()
        kernel.apply(plan)
        end = time.perf_counter()
        MODE.accept(program, fragments)
        applied.append(end - planned)
        whole.append(end - start)
    yield "compile_plan_apply_acknowledged", percentiles(whole)
    yield "apply_acknowledged", percentiles(applied)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--backends", type=int, default=10, help="of each Service")
    parser.add_argument("--changes", type=int, default=1_000)
    arguments = parser.parse_args()
    with namespaces.created(f"fw-bench-{os.getpid()}") as namespace, namespace.run(Nftables) as kernel:
        found = measure(kernel, arguments.services, arguments.backends, arguments.changes)
    print(json.dumps({"kernel": platform.release(), "python": platform.python_version(), **found}, indent=2))


if __name__ == "__main__":
    main()
