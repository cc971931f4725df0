"""A real API server in this process, and the real kubectl against it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fairway.apiserver.server import ApiServer
from fairway.apiserver.settings import Settings
from fairway.objects.codec import Document, decode

TIMEOUT = 60


@dataclass
class Ran:
    code: int
    out: str
    err: str


class Kubectl:
    """Runs kubectl with the server's own kubeconfig; ``namespace`` is what ``-n`` says."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": os.environ["PATH"]}

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environment, **environment},
        )

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        process = await self.start(*arguments, **environment)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), TIMEOUT)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What it prints; it must succeed."""
        ran = await self.run(*arguments, stdin=stdin, **environment)
        assert ran.code == 0, f"kubectl {' '.join(arguments)}: {ran.err}{ran.out}"
        return ran.out

    async def get(self, *arguments: str) -> Document:
        return decode(await self("get", *arguments, "-o", "json"), dict)


@cache
def kubectl_version() -> tuple[int, int]:
    """Major and minor version of the kubectl that is installed; (0, 0) without one."""
    if shutil.which("kubectl") is None:
        return 0, 0
    told = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=True, timeout=TIMEOUT
    )
    client = decode(told.stdout, dict)["clientVersion"]
    return int(client["major"]), int(client["minor"].rstrip("+"))


@pytest.fixture(autouse=True)
def _new_enough(request: pytest.FixtureRequest) -> None:
    """Skips what is marked ``@pytest.mark.kubectl("1.28", "auth whoami")`` where kubectl is older."""
    marker = request.node.get_closest_marker("kubectl")
    if marker is None:
        return
    needed, what = marker.args
    if kubectl_version() < tuple(map(int, needed.split("."))):
        found = ".".join(map(str, kubectl_version()))
        pytest.skip(f"{what} needs kubectl {needed} or newer, this is {found}")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    settings = Settings(
        data_directory=tmp_path / "data",
        storage="memory",
        bind_address="127.0.0.1",
        port=0,
        advertise_address="192.0.2.1",
    )
    async with ApiServer(settings) as running:
        yield running


@pytest.fixture
async def kubectl(server: ApiServer, tmp_path: Path) -> Kubectl:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    return Kubectl(server.kubeconfig, tmp_path)
