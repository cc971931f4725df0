"""Real etcd processes on loopback, for tests: one member, or several that one can kill, freeze and start again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.free_ports import free_ports


def require_etcd() -> str:
    """The etcd program; skips the test without it."""
    program = shutil.which("etcd")
    if program is None:
        pytest.skip("etcd is not installed (Debian: apt-get install etcd-server)")
    return program


class Member:
    """One member; ``url`` is where clients reach it."""

    def __init__(self, directory: Path, url: str, arguments: tuple[str, ...]) -> None:
        self.url = url
        self._log = directory.with_suffix(".log")
        self._command = (require_etcd(), f"--data-dir={directory}", "--log-level=warn", *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Until it serves clients; raises `AssertionError` with its log when it ends instead."""
        assert self._process
        host = urlsplit(self.url).netloc
        for _ in range(600):
            with contextlib.suppress(OSError), contextlib.closing(HTTPConnection(host, timeout=5)) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise AssertionError(self._log.read_text())
        raise AssertionError(f"etcd is not ready: {self._log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Let it keep its connections and say nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def etcd_members(directory: Path, count: int = 1, *arguments: str, scheme: str = "http") -> Iterator[list[Member]]:
    """A running etcd; it may need a moment until it answers."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2 * count)
    peers = {f"m{number}": f"http://127.0.0.1:{ports[number]}" for number in range(count)}
    cluster = ",".join(f"{name}={url}" for name, url in peers.items())
    members = []
    for number, (name, peer) in enumerate(peers.items()):
        url = f"{scheme}://127.0.0.1:{ports[count + number]}"
        own = (
            f"--name={name}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--initial-cluster={cluster}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
        )
        members.append(Member(directory / name, url, (*own, *arguments)))
    try:
        for member in members:
            member.start()
        yield members
    finally:
        for member in members:
            member.kill()
