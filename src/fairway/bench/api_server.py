"""The API server that is measured: a process of its own, asked of the kernel what it uses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fairway.client.kubeconfig import Connection, load_kubeconfig

_START_SECONDS = 60
_STOP_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """The server did not start; the message is what it said."""


@dataclass(frozen=True)
class Server:
    """A running API server."""

    pid: int
    place: Connection

    @property
    def host(self) -> str:
        return urlsplit(self.place.server).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.place.server).port or 443

    def cpu_seconds(self) -> float:
        """What it has used so far, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self) -> dict[str, float]:
        """Resident memory now (``rss``) and at most (``peak``), in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        return {"rss": round(int(sizes["VmRSS"]) / 1024, 1), "peak": round(int(sizes["VmHWM"]) / 1024, 1)}


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Server]:
    """An API server with these flags, in a directory that goes with it; raises `ServerFailed`."""
    with tempfile.TemporaryDirectory(prefix="fairway-bench-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fairway", "apiserver", "--data-dir", directory, "--secure-port", "0", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            await _ready(process)
            yield Server(process.pid, load_kubeconfig([Path(directory) / "admin.conf"]))
        finally:
            await _stop(process)


async def _ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
    except TimeoutError:
        raise ServerFailed(f"the server was not ready within {_START_SECONDS} s") from None
    if not line:
        raise ServerFailed((await process.stderr.read()).decode(errors="replace").strip())


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
