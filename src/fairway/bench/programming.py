"""How fast a proxy makes the kernel follow: from nothing, and for one change after the other.

ListServer ──watch event──▶ fairway proxy (a process) ──▶ kernel ──"committed"──▶ this program's clock
                           all of it in a network namespace made for it
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from fairway.bench.apart import apart
from fairway.bench.heard import Commits, Rounds, Word
from fairway.bench.machine import Machine
from fairway.bench.process import BenchFailed, Program, ProxyProcess
from fairway.bench.server import ListServer
from fairway.bench.shape import FIRST_REVISION, Shape
from fairway.bench.sustained import sustain
from fairway.kernel import namespaces
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nfnetlink import Netfilter
from fairway.kernel.nftables import Nftables
from fairway.proxy.document import document_at
from fairway.proxy.kernels import open_mode

_TELLS = "nftables"
"""The mode of which the kernel tells when it has a change, without anybody's help."""
_NFTABLES_GROUP = 7
_CHANGE_SECONDS = 30.0
SUSTAINED_SECONDS = 5
"""How long changes come at a rate."""


def measure(shape: Shape, changes: int, program: Program, rate: int = 0, pause: float = 0.0) -> dict[str, Any]:
    """All that one run finds out; times in seconds. With a rate also what so many changes a second take.

    Before each change the proxy has a ``pause`` of so many seconds.

    Raises `BenchFailed`, OSError without the rights it needs.
    """
    machine = Machine()
    with ExitStack() as stack:
        namespace = stack.enter_context(namespaces.created(f"fairway-bench-{os.getpid()}"))
        with Links(namespace) as links:
            links.set_up("lo")
        listener = namespace.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = stack.enter_context(ListServer(listener, shape.lists()))
        port = listener.getsockname()[1]
        tells = program.mode == _TELLS
        proxy = stack.enter_context(ProxyProcess.started(program, namespace, port, receipts=not tells))
        cold, cpu = proxy.wait_until_ready(), proxy.cpu_seconds()
        rss = proxy.rss_bytes()
        word = _commits(namespace, proxy, stack) if tells else Rounds(proxy.receipts)
        # All of them beforehand, so that the next one can follow at once.
        first, *others = enumerate(list(shape.changes(changes + 1)), FIRST_REVISION)
        (at_once,) = _changes(word, server, [first])
        settled = proxy.wait_until_quiet()
        seconds = list(_changes(word, server, others, pause))
        cpu_of_changes = (proxy.cpu_seconds() - settled) / changes
        later = shape.changes(rate * SUSTAINED_SECONDS, after=changes + 1)
        return {
            "mode": program.mode,
            "proxy": str(program),
            "services": shape.services,
            "backends": shape.backends,
            "changes": changes,
            "pause_seconds": pause,
            "cold_seconds": round(cold, 3),
            "cold_cpu_seconds": round(cpu, 3),
            "first_change_seconds": round(at_once, 6),
            "change_seconds": percentiles(seconds),
            "cpu_seconds_per_change": round(cpu_of_changes, 6),
            **({"sustained": sustain(server, proxy, word, later, rate)} if rate else {}),
            "rss_bytes": rss,
            "elements": _held(namespace, program.mode),
            "machine": machine.told(),
        }


_LOOKING = document_at({"nftables.ownTables": False})
"""The proxy that is measured owns its tables."""


def _held(namespace: NetworkNamespace, mode: str) -> int:
    """How much the kernel holds in the end: elements, and rules and chains and whatever else a mode makes."""

    def count() -> int:
        with open_mode(mode, _LOOKING) as opened:
            return len(opened.mode.plan(opened.mode.empty(), opened.kernel.read_back()))

    return namespace.run(count)


def _commits(namespace: NetworkNamespace, proxy: ProxyProcess, stack: ExitStack) -> Word:
    awake = stack.enter_context(apart(proxy.process.pid))
    netlink = stack.enter_context(namespace.run(lambda: Netfilter(groups=(_NFTABLES_GROUP,))))
    return Commits(netlink, stack.enter_context(namespace.run(Nftables)), awake=awake)


def _changes(
    word: Word, server: ListServer, events: Iterable[tuple[int, bytes]], pause: float = 0.0
) -> Iterator[float]:
    """The seconds from the last byte of each event, a revision, to the word that the kernel has committed."""
    for revision, event in events:
        while word.anything(pause):
            pass  # a commit that was for no change of ours would be taken for that of the next one, and so on
        sent = server.send("endpointslices", event)
        heard = word.acknowledged(revision, _CHANGE_SECONDS)
        if heard is None:
            raise BenchFailed(
                f"change {revision - FIRST_REVISION} has not reached the kernel after {_CHANGE_SECONDS:g} s"
            )
        yield heard - sent


def percentiles(seconds: Sequence[float], digits: int = 6) -> dict[str, float]:
    """Median, 99th percentile and worst, to the microsecond or to as many digits."""
    ordered = sorted(seconds)
    picks = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {name: round(ordered[index], digits) for name, index in picks.items()}
