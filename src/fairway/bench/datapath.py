"""What a packet pays for Services: connections and streams through a proxy's rules and past them.

    paths of all sizes and proxies, side by side ──▶ a burst of connections to each target of each, in turn, many times

Bursts take turns, so that whatever else the machine does at some moment falls on all targets alike: figures of one run
can be compared with each other.
"""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from fairway.bench.answering import Say
from fairway.bench.machine import Machine
from fairway.bench.path import RESET, Path, laid
from fairway.bench.process import BenchFailed, Program
from fairway.bench.programming import percentiles
from fairway.bench.shape import TARGET_PORT, Shape
from fairway.bench.silence import unanswered
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.namespaces import NetworkNamespace

Report = dict[str, Any]

BACKENDS = 1
"""Of each Service: which one is drawn makes no difference to what the draw costs."""
_BURST = 100
_STREAM_PATIENCE, _IPERF3_PAUSE = 30.0, 0.1
_PIECE = bytes(1 << 20)
_THROUGH = ("first", "middle", "last")


@dataclass(frozen=True)
class Traffic:
    """``connections`` to each target, then a stream of so many ``seconds`` (0: none), by ``iperf3`` if it is there."""

    connections: int
    seconds: float
    iperf3: str = field(default_factory=lambda: shutil.which("iperf3") or "")
    again: int = 3
    """How many times the kernel asks again for a connection that nobody answers: 3 are 15 s."""


def measure(programs: Sequence[Program], sizes: Sequence[int], traffic: Traffic, say: Say) -> Report:
    """Every figure of every proxy at every number of Services; times in seconds.

    Raises `BenchFailed`, and OSError without the rights it needs.
    """
    machine = Machine()
    with ExitStack() as stack:
        found: list[_Measured] = []
        for program in programs:
            for size in sizes:
                say(f"{program}: {size} Services …")
                path = stack.enter_context(laid(Shape(size, BACKENDS), program))
                report = {"services": size, "answering_seconds": round(path.wait_until_answering(), 3)}
                found.append(_Measured(path, report))
        say("connections …")
        _connect(found, traffic)
        tool = ""
        if traffic.seconds:
            say("streams …")
            tool = _stream(found, traffic)
    return {
        "connections": traffic.connections,
        "proxies": [_of_proxy(one, [m for m in found if m.path.program == one]) for one in programs],
        "throughput_by": tool,
        "machine": machine.told(),
    }


@dataclass
class _Measured:
    """A path and what has been found out about it."""

    path: Path
    report: Report
    bursts: dict[str, list[list[float]]] = field(default_factory=dict)
    """By target, the seconds of each connection."""
    spent: dict[str, float] = field(default_factory=dict)
    """By target, the seconds of all its bursts, with what it takes to open and close."""

    def burst(self, name: str, count: int, again: int) -> None:
        seconds, whole = _burst(self.path, name, count, again)
        self.bursts.setdefault(name, []).append(seconds)
        self.spent[name] = self.spent.get(name, 0.0) + whole

    def conclude(self) -> None:
        taken = {name: [one for burst in bursts for one in burst] for name, bursts in self.bursts.items()}
        self.report["connect_seconds"] = {name: percentiles(seconds, 8) for name, seconds in taken.items()}
        rates = {name: round(len(seconds) / self.spent[name]) for name, seconds in taken.items()}
        self.report["connections_per_second"] = rates

    def through(self, turn: int) -> float:
        """The latency through a Service in one turn: the mean of the medians of the three that were asked."""
        return statistics.fmean(statistics.median(self.bursts[name][turn]) for name in _THROUGH)


def _of_proxy(program: Program, sizes: list[_Measured]) -> Report:
    """A proxy's figures; and what the most Services do to the latency, turn by turn compared with the fewest."""
    found: Report = {"proxy": str(program), "sizes": [one.report for one in sizes]}
    if len(sizes) > 1:
        few, many = (pick(sizes, key=lambda one: one.path.shape.services) for pick in (min, max))
        turns = range(len(few.bursts[_THROUGH[0]]))
        found["latency_ratio"] = round(statistics.median(many.through(one) / few.through(one) for one in turns), 3)
    return found


def _connect(found: Sequence[_Measured], traffic: Traffic) -> None:
    connections = traffic.connections
    pairs = [(one, name) for one in found for name in one.path.targets]
    for turn in range(-(-connections // _BURST)):
        burst = min(_BURST, connections - turn * _BURST)
        for step in range(len(pairs)):
            # Each turn begins with another target: whoever comes first finds cold caches.
            one, name = pairs[(step + turn) % len(pairs)]
            one.burst(name, burst, traffic.again)
    for one in found:
        one.conclude()


def _burst(path: Path, name: str, count: int, again: int) -> tuple[list[float], float]:
    """The seconds of each connection, one after the other, and of all of them with what it takes to open and close."""

    target = path.targets[name]

    def connect() -> tuple[list[float], float]:
        taken = []
        begun = time.perf_counter()
        for _ in range(count):
            with socket.socket() as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                # The kernel's own limit is two minutes. A limit of Python's would be part of what is measured.
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, again)
                start = time.perf_counter()
                try:
                    made.connect(target)
                except OSError as error:
                    raise _Unanswered(made.getsockname()[1], error) from None
                taken.append(time.perf_counter() - start)
        return taken, time.perf_counter() - begun

    try:
        return path.client.run(connect)
    except _Unanswered as lost:
        raise unanswered(path, name, lost.port, lost.error) from None


class _Unanswered(Exception):
    """A connection that was not made, and the port it was to be made from."""

    def __init__(self, port: int, error: OSError) -> None:
        super().__init__()
        self.port, self.error = port, error


def _stream(found: Iterable[_Measured], traffic: Traffic) -> str:
    """One stream to each target, in turn; returns what made it."""
    iperf3, seconds = traffic.iperf3, traffic.seconds
    for one in found:
        path = one.path
        with _iperf3_server(iperf3, path) if iperf3 else nullcontext():
            for name, target in path.targets.items():
                rate = _iperf3(iperf3, path, target, seconds) if iperf3 else own_stream(path.client, target, seconds)
                one.report.setdefault("throughput_bits_per_second", {})[name] = round(rate)
    return "iperf3" if iperf3 else "a TCP stream of our own (iperf3 is not installed)"


def own_stream(client: NetworkNamespace, target: tuple[str, int], seconds: float) -> float:
    """Bits per second that a sender gets rid of. Raises `BenchFailed`."""
    with client.socket() as made:
        made.settimeout(seconds + _STREAM_PATIENCE)
        try:
            made.connect(target)
            sent, begun = 0, time.perf_counter()
            while (passed := time.perf_counter() - begun) < seconds:
                sent += made.send(_PIECE)
        except OSError as error:
            raise BenchFailed(f"a stream to {target[0]}:{target[1]} broke off: {error.strerror or error}") from None
        return sent * 8 / passed


@contextmanager
def _iperf3_server(iperf3: str, path: Path) -> Iterator[None]:
    """iperf3's server on the backends' port, which the sink leaves to it."""
    path.sink.stop()
    command = [iperf3, "--server", f"--port={TARGET_PORT}"]
    process = path.backends.run(lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _iperf3(iperf3: str, path: Path, target: tuple[str, int], seconds: float) -> float:
    """Bits per second that iperf3's server has received."""
    command = [iperf3, f"--client={target[0]}", f"--port={target[1]}", f"--time={max(1, round(seconds))}", "--json"]
    pause = threading.Event()
    told, begun = "", time.monotonic()
    while time.monotonic() - begun < _STREAM_PATIENCE + seconds:
        try:
            report = json.loads(run(command, namespace=path.client, timeout=seconds + 30))
        except CommandFailed as error:
            told = str(error)
        else:
            if "sum_received" in report["end"]:
                return float(report["end"]["sum_received"]["bits_per_second"])
            told = str(report.get("error", "it has not said how much its server received"))
        # Its server is not listening yet, or has not done with the last client.
        pause.wait(_IPERF3_PAUSE)
    raise BenchFailed(f"iperf3 does not reach its server at {target[0]}:{target[1]}: {told}")
