"""Why a connection of a measurement was not made: what everybody on its way says at that moment.

    client ──▶ node ──▶ backends' port, its queue ──▶ sink
      │          │                │                     │
      ask again  its flow         overflows             alive?

A figure that cannot be had is told with what is needed to understand it: whoever reads it has neither the namespaces
nor the processes any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as File

from fairway.bench.path import Path, answers
from fairway.bench.process import BenchFailed
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.links import sysctl

_STATISTICS = File("/proc/thread-self/net/netstat")
_OVERFLOWS = "ListenOverflows"


def unanswered(path: Path, name: str, port: int, error: OSError) -> BenchFailed:
    """What is to be raised when the target called ``name`` did not take a connection from ``port``."""
    try:
        path.proxy.check_alive()
    except BenchFailed as ended:
        return ended
    address, to = path.targets[name]
    lines = [
        f"{path.program}, {path.shape.services} Services: {name} ({address}:{to}) answers no more: "
        f"{error.strerror or error} (from port {port})",
        *(f"  {one}" for one in _evidence(path, name, port)),
        f"the proxy said:\n{path.proxy.last_words()}",
    ]
    return BenchFailed("\n".join(lines))


def _evidence(path: Path, name: str, port: int) -> Iterator[str]:
    # First, because asking again makes flows of its own.
    flow, tracked = path.node.run(lambda: (_flow(path, name, port), _tracked()))
    asked = {one: answers(path.client, *target) for one, target in path.targets.items()}
    said = ", ".join(f"{one} {'answers' if answered else 'does not'}" for one, answered in asked.items())
    yield f"asked again: {said}"
    yield f"the node's connection tracking: {flow}; {tracked}"
    code = path.sink.process.poll()
    accepts = "runs" if code is None else f"has ended with code {code}"
    lost = path.backends.run(lambda: counted(_STATISTICS.read_text(), "TcpExt", _OVERFLOWS))
    yield f"the backends: the process that accepts {accepts}; connections that found its queue full: {lost}"


def _flow(path: Path, name: str, port: int) -> str:
    """What the node makes of the connection."""
    address, to = path.targets[name]
    with Conntrack() as conntrack:
        flows = [one for one in conntrack.flows(Match("TCP", address, to)) if one.source_port == port]
    if not flows:
        return "it knows no such connection"
    if (flows[0].reply_source, flows[0].reply_port) == (address, to):
        return "the connection is not translated" if name != "direct" else "the connection is there"
    return f"the connection is translated to {flows[0].reply_source}:{flows[0].reply_port}"


def _tracked() -> str:
    count, most = (sysctl(f"net.netfilter.nf_conntrack_{one}") for one in ("count", "max"))
    return f"{count} of {most} entries"


def counted(statistics: str, group: str, name: str) -> int:
    """One counter of ``/proc/net/netstat``: of each group a line of names, then a line of numbers; 0: not there."""
    rows = [line.split() for line in statistics.splitlines() if line.startswith(f"{group}:")]
    return int(dict(zip(*rows, strict=True)).get(name, 0)) if len(rows) == 2 else 0
