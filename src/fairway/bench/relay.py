"""What a relay costs: the same connections to a backend directly, through the kernel's rules, and through the relay.

    direct ───┐  answer    connect, a word, the word back
    nftables ─┼─ request   a word and back on a connection that is open          in turns, so that whatever else the
    relay ────┘  stream    as fast as it goes                                    machine does falls on all alike

Then very many connections are held open through the relay at one time: what that takes of memory and descriptors, and
whether each of them is still served.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fairway.bench.datapath import own_stream
from fairway.bench.machine import Machine
from fairway.bench.path import RESET, Path, laid
from fairway.bench.process import BenchFailed, Program, cpu_seconds, rss_bytes
from fairway.bench.programming import percentiles
from fairway.bench.shape import Shape
from fairway.kernel.namespaces import NetworkNamespace
from fairway.relay.control import Ask, Channel, Figures, Hello, Welcome
from fairway.relay.engine import raise_descriptor_limit
from fairway.relay.process import running

Report = dict[str, Any]
Say = Callable[[str], None]

_BURST = 50
_WORD = b"hello"
_PATIENCE = 30.0
_LOOK_SECONDS = 0.01
_OWN_DESCRIPTORS = 100
"""That a relay needs beside those of its connections, with room to spare."""
_EACH = 2


def measure(connections: int, held: int, seconds: float, say: Say) -> Report:
    """Every figure; times in seconds. ``seconds`` is how long each stream lasts, 0 for none.

    Raises `BenchFailed`, and OSError without the rights it needs.
    """
    most = (raise_descriptor_limit() - _OWN_DESCRIPTORS) // _EACH
    if held > most:
        raise BenchFailed(
            f"{held} connections through one relay need {held * _EACH + _OWN_DESCRIPTORS} file descriptors, and this "
            f"machine allows a process {most * _EACH + _OWN_DESCRIPTORS} (ulimit -Hn): at most {most} connections"
        )
    machine = Machine()
    with ExitStack() as stack:
        say("two nodes, one with the nftables mode, one with the relay …")
        shape = Shape(1, 1)
        kernel, relay = (stack.enter_context(laid(shape, Program(mode=mode))) for mode in ("nftables", "userspace"))
        for path in (kernel, relay):
            path.wait_until_answering()
        targets = [
            _Target("direct", kernel.client, kernel.targets["direct"]),
            _Target("nftables", kernel.client, kernel.targets["first"]),
            _Target("relay", relay.client, relay.targets["first"]),
        ]
        say("answers and requests …")
        for turn in range(-(-connections // _BURST)):
            for step in range(len(targets)):
                targets[(turn + step) % len(targets)].burst(min(_BURST, connections - turn * _BURST))
        if seconds:
            say("streams …")
            for one in targets:
                one.bits = own_stream(one.client, one.place, seconds)
        found: Report = {"connections": connections, "targets": {one.name: one.report() for one in targets}}
        if held:
            say(f"{held} connections at one time …")
            found["held"] = _hold(relay, held)
    return {**found, "machine": machine.told()}


@dataclass
class _Target:
    """A way to the backend, and what it took."""

    name: str
    client: NetworkNamespace
    place: tuple[str, int]
    answers: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    spent: float = 0.0
    bits: float = 0.0

    def burst(self, count: int) -> None:
        """So many connections one after the other, each with one answer, and so many requests on one of them."""
        try:
            self.client.run(lambda: self._burst(count))
        except OSError as error:
            raise BenchFailed(f"{self.name}: {self.place[0]} answers no more: {error.strerror or error}") from None

    def _burst(self, count: int) -> None:
        begun = time.perf_counter()
        for _ in range(count):
            with _made() as one:
                start = time.perf_counter()
                one.connect(self.place)
                _ask(one)
                self.answers.append(time.perf_counter() - start)
        self.spent += time.perf_counter() - begun
        with _made() as one:
            one.connect(self.place)
            for _ in range(count):
                start = time.perf_counter()
                _ask(one)
                self.requests.append(time.perf_counter() - start)

    def report(self) -> Report:
        return {
            "answer_seconds": percentiles(self.answers, 8),
            "request_seconds": percentiles(self.requests, 8),
            "connections_per_second": round(len(self.answers) / self.spent),
            **({"throughput_bits_per_second": round(self.bits)} if self.bits else {}),
        }


def _hold(path: Path, count: int) -> Report:
    with _relay_of(path) as (process, figures), ExitStack() as stack:
        _wait_for_nobody(figures)
        rss, descriptors, cpu = rss_bytes(process), _descriptors(process), cpu_seconds(process)
        begun = time.perf_counter()
        held: list[socket.socket] = []
        while len(held) < count:
            fresh = path.client.run(
                lambda: [_connected(path.targets["first"]) for _ in range(min(_BURST, count - len(held)))]
            )
            for one in fresh:
                held.append(stack.enter_context(closing(one)))
            for one in fresh:
                _ask(one)
        took = time.perf_counter() - begun
        there = figures()
        report: Report = {
            "connections": there.connections,
            "seconds": round(took, 3),
            "cpu_seconds_per_connection": round((cpu_seconds(process) - cpu) / count, 6),
            "rss_bytes_before": rss,
            "rss_bytes": rss_bytes(process),
            "bytes_per_connection": round((rss_bytes(process) - rss) / count),
            "descriptors_per_connection": round((_descriptors(process) - descriptors) / count, 2),
        }
        report["request_seconds"] = percentiles(list(_requests(held)), 8)
        if there.connections < count:
            raise BenchFailed(f"only {there.connections} of {count} connections are open in the relay")
    return report


def _wait_for_nobody(figures: Callable[[], Figures]) -> None:
    """The connections of the turns before are closed, but the relay may not have seen it of the last ones."""
    pause, until = threading.Event(), time.monotonic() + _PATIENCE
    while left := figures().connections:
        if time.monotonic() > until:
            raise BenchFailed(f"{left} connections that were closed are still open in the relay")
        pause.wait(_LOOK_SECONDS)


def _requests(held: Sequence[socket.socket]) -> Iterator[float]:
    for one in held:
        start = time.perf_counter()
        _ask(one)
        yield time.perf_counter() - start


@contextmanager
def _relay_of(path: Path) -> Iterator[tuple[int, Callable[[], Figures]]]:
    """The relay's process on the node of a path, and how it is asked for its figures."""
    found = path.node.run(lambda: next(running(), None))
    if found is None:
        raise BenchFailed(f"there is no relay; the proxy said:\n{path.proxy.last_words()}")
    with closing(Channel(found, _PATIENCE)) as channel:
        yield channel.ask(Hello(""), Welcome).process, lambda: channel.ask(Ask(), Figures)


def _made() -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.settimeout(_PATIENCE)
    return one


def _connected(place: tuple[str, int]) -> socket.socket:
    one = _made()
    one.connect(place)
    return one


def _ask(one: socket.socket) -> None:
    one.sendall(_WORD)
    if one.recv(len(_WORD)) != _WORD:
        raise ConnectionResetError("the connection has ended")


def _descriptors(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))
