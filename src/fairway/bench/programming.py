"""How fast a proxy makes the kernel follow: from nothing, and for one change after the other.

ListServer ──watch event──▶ fairway proxy (a process) ──netlink──▶ kernel ──"committed"──▶ this program's clock
                           all of it in a network namespace made for it
"""

from __future__ import annotations

import os
import platform
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.bench.server import ListServer
from fairway.bench.shape import CLUSTER_NETWORK, NODE, SERVICE_NETWORK, Shape
from fairway.kernel import namespaces
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nfnetlink import Netfilter
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_codec import NEW_GENERATION

_NFTABLES_GROUP = 7
_COLD_SECONDS = 300.0
_CHANGE_SECONDS = 30.0
_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: bench, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: bench, user: {{}}}}]
contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]
current-context: bench
"""


class BenchFailed(Exception):
    """The proxy did not do what was to be measured."""


def measure(shape: Shape, changes: int, mode: str) -> dict[str, Any]:
    """All that one run finds out; times in seconds. Raises `BenchFailed`, OSError without the rights it needs."""
    with ExitStack() as stack:
        namespace = stack.enter_context(namespaces.created(f"fairway-bench-{os.getpid()}"))
        with Links(namespace) as links:
            links.set_up("lo")
        listener = namespace.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = stack.enter_context(ListServer(listener, shape.lists()))
        proxy = stack.enter_context(_Proxy.started(namespace, listener, mode))
        cold, cpu = proxy.wait_until_ready(), proxy.cpu_seconds()
        rss = proxy.rss_bytes()
        seconds = list(_changes(namespace, server, shape, changes))
        return {
            "mode": mode,
            "services": shape.services,
            "backends": shape.backends,
            "changes": changes,
            "cold_seconds": round(cold, 3),
            "cold_cpu_seconds": cpu,
            "change_seconds": percentiles(seconds),
            "cpu_seconds_per_change": round((proxy.cpu_seconds() - cpu) / changes, 6),
            "rss_bytes": rss,
            "elements": _elements(namespace),
            "machine": machine(),
        }


def _changes(namespace: NetworkNamespace, server: ListServer, shape: Shape, count: int) -> Iterator[float]:
    """The seconds from the last byte of each event to the word that the kernel has committed."""
    with namespace.run(lambda: Netfilter(groups=(_NFTABLES_GROUP,))) as kernel:
        for number, event in enumerate(shape.changes(count)):
            server.send("endpointslices", event)
            sent = time.perf_counter()
            give_up = sent + _CHANGE_SECONDS
            while not any(one.kind == NEW_GENERATION for one in kernel.notifications(_CHANGE_SECONDS)):
                if time.perf_counter() > give_up:
                    raise BenchFailed(f"change {number} has not reached the kernel after {_CHANGE_SECONDS:g} s")
            yield time.perf_counter() - sent


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, to the microsecond."""
    ordered = sorted(seconds)
    picks = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {name: round(ordered[index], 6) for name, index in picks.items()}


def machine() -> dict[str, Any]:
    """What it was measured on, as far as it makes a difference."""
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def _elements(namespace: NetworkNamespace) -> int:
    with namespace.run(Nftables) as kernel:
        return sum(len(some) for table in kernel.read().values() for some in table.elements.values())


@dataclass
class _Proxy:
    """The process that is measured."""

    process: subprocess.Popen[bytes]
    ready: int
    begun: float
    log: Path

    @classmethod
    @contextmanager
    def started(cls, namespace: NetworkNamespace, listener: socket.socket, mode: str) -> Iterator[_Proxy]:
        with tempfile.TemporaryDirectory(prefix="fairway-bench-") as directory:
            kubeconfig, log = Path(directory) / "kubeconfig", Path(directory) / "log"
            kubeconfig.write_text(_KUBECONFIG.format(port=listener.getsockname()[1]))
            ready, told = os.pipe()
            command = [sys.executable, "-m", "fairway", "proxy", f"--proxy-mode={mode}", f"--ready-fd={told}"]
            command += [
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NODE}",
                f"--cluster-cidr={CLUSTER_NETWORK}",
                "--state-file=",
            ]
            command += [f"--service-cluster-ip-range={SERVICE_NETWORK}"]
            begun = time.perf_counter()
            with log.open("wb") as output:
                process = namespace.run(
                    lambda: subprocess.Popen(command, pass_fds=(told,), stdout=output, stderr=output)
                )
            os.close(told)
            try:
                yield cls(process, ready, begun, log)
            finally:
                process.terminate()
                process.wait(10)
                os.close(ready)

    def wait_until_ready(self) -> float:
        """Seconds from the start of the process until the kernel had everything."""

        there, _, _ = select.select([self.ready], [], [], _COLD_SECONDS)
        if not there or not os.read(self.ready, 100):
            raise BenchFailed(f"the proxy did not get ready:\n{self.log.read_text().strip()}")
        return time.perf_counter() - self.begun

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        resident = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE")
