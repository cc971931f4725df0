"""How fast the nftables mode programs a kernel: a whole cluster from nothing, then one change at a time.

    sudo .venv/bin/python benchmarks/nftables_programming.py --services 10000 --backends 10 --changes 1000

Runs in a network namespace of its own and leaves nothing behind. Prints one JSON document; times in seconds unless
the name says microseconds. A change is a backend that leaves or comes back: compiled, planned, applied, acknowledged,
accepted. As from a proxy's cache, the backends that stay are the very same objects before and after. Applying makes the
messages again; what it takes beyond that is the kernel's, and the wait for its word. With ``--apart`` the processor's
caches hold something else when a change comes, as in a proxy that sleeps between events: all of Python takes twice as
long then.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar

from msgspec.structs import replace

from fairway.kernel import namespaces
from fairway.kernel.contract import Opened
from fairway.kernel.nfnetlink import Request
from fairway.kernel.nftables import requests
from fairway.model.parts import Part, Parts, parts_of
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.proxy.kernels import open_mode

SETTINGS = NodeSettings(
    name="node-1",
    addresses=("127.0.0.1", "192.168.0.2"),
    pod_networks=("10.128.0.0/9",),
    service_networks=("10.0.0.0/9",),
)
_STAY = Action(kind=ActionKind.FORWARD)
_HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)
_SLICE = 100
"""Backends of one EndpointSlice at most."""
_CACHED = bytearray(2 << 20), bytearray(2 << 20)
"""As much as a core's own cache holds, twice."""

P = ParamSpec("P")
T = TypeVar("T")


def frontend(number: int, backends: int) -> Frontend:
    """Service number so-and-so."""
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        protocol="TCP",
        port=80,
        service=Key("shop", f"service-{number}"),
        port_name="http",
        field="spec.ports[0]",
        cluster=pool(number, backends),
        pod=_STAY,
        node=_HIDE,
        outside=_HIDE,
    )


def pool(number: int, backends: int) -> Sequence[Backend]:
    """A part for each EndpointSlice."""
    first = number * backends
    starts = range(first, first + backends, _SLICE)
    parts = [Part(backend(number, n) for n in range(at, min(at + _SLICE, first + backends))) for at in starts]
    return Parts(parts) if len(parts) > 1 else parts[0]


def backend(service: int, number: int) -> Backend:
    return Backend(
        address=f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        port=8080,
        node="node-2",
        slice=f"service-{service}-x7k2p",
    )


def changed(frontend: Frontend, which: int, part: tuple[Backend, ...]) -> Frontend:
    """The same with another EndpointSlice in one place."""
    pool = frontend.cluster
    return replace(frontend, cluster=pool.replaced(which, part) if isinstance(pool, Parts) else part)


def timed(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> tuple[float, T]:
    start = time.perf_counter()
    result = work(*given, **named)
    return time.perf_counter() - start, result


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in microseconds."""
    ordered = sorted(seconds)
    picks = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "worst": len(ordered) - 1}
    return {name: round(ordered[index] * 1e6, 1) for name, index in picks.items()}


def measure(opened: Opened, services: int, backends: int, changes: int, apart: bool) -> dict[str, Any]:
    mode, kernel = opened.mode, opened.kernel
    frontends = [frontend(number, backends) for number in range(services)]
    gc.collect()
    gc.freeze()
    view = NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})
    nothing = kernel.read_back()
    compiling, program = timed(mode.program, view)
    planning, plan = timed(mode.plan, nothing, program)
    encoding, messages = timed(encoded, plan)
    applying, _ = timed(kernel.apply, plan)
    reading, held = timed(kernel.read_back)
    comparing, drift = timed(mode.plan, held, program)
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
        "one_change_us": change(opened, program, frontends, changes, apart),
    }


def encoded(plan: Any) -> list[Request]:
    """The messages of a Plan; applying it makes them itself."""
    return list(requests(plan.carried))


def change(opened: Opened, program: Any, frontends: Sequence[Frontend], changes: int, apart: bool) -> dict[str, Any]:
    """One backend leaves, then returns, each time at another Service and in another place."""
    mode, kernel = opened.mode, opened.kernel
    now = list(frontends)
    found: dict[str, list[float]] = {part: [] for part in ("whole", "compile", "plan", "messages", "apply", "accept")}
    for number in range(changes):
        service, backend = number // 2 * 7919 % len(frontends), number // 2 * 37 % len(frontends[0].cluster)
        which, at = divmod(backend, _SLICE)
        there = parts_of(frontends[service].cluster)[which]
        some = Part((*there[:at], *there[at + 1 :])) if number % 2 == 0 else there
        wanted = now[service] = changed(now[service], which, some)
        if apart:
            _CACHED[0][:] = _CACHED[1]
        compiling, fragment = timed(mode.compile, wanted, SETTINGS, program)
        fragments = {wanted.key: fragment}
        planning, plan = timed(mode.plan_changes, program, fragments)
        encoding, _ = timed(encoded, plan)
        applying, _ = timed(kernel.apply, plan)
        accepting, _ = timed(mode.accept, program, fragments)
        whole = compiling + planning + applying + accepting
        for part, seconds in zip(found, (whole, compiling, planning, encoding, applying, accepting), strict=True):
            found[part].append(seconds)
    return {part: percentiles(seconds) for part, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--backends", type=int, default=10, help="of each Service")
    parser.add_argument("--changes", type=int, default=1_000)
    parser.add_argument("--apart", action="store_true", help="use up the processor's caches between two changes")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        namespace = stack.enter_context(namespaces.created(f"fw-bench-{os.getpid()}"))
        opened = namespace.run(lambda: stack.enter_context(open_mode("nftables")))
        found = measure(opened, arguments.services, arguments.backends, arguments.changes, arguments.apart)
    print(json.dumps({"kernel": platform.release(), "python": platform.python_version(), **found}, indent=2))


if __name__ == "__main__":
    main()
