"""``fairway controllers`` as a process: ready, at work, stopped; and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.client.http import Client
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.objects.resources import DEPLOYMENTS, PODS

pytestmark = pytest.mark.clients
FAIRWAY = (sys.executable, "-m", "fairway.cli.main")


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A part of Fairway that has said that it is ready."""
    reading, writing = os.pipe()
    started = subprocess.Popen(
        (*FAIRWAY, *arguments, f"--ready-fd={writing}"),
        pass_fds=(writing,),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(writing)
    try:
        with open(reading) as ready:
            assert ready.readline() == "ready\n", started.communicate(timeout=10)[0]
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


async def test_it_says_ready_works_and_stops_at_sigterm(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "admin.conf"
    with (
        process("apiserver", f"--data-dir={tmp_path}", "--secure-port=0", "--storage=memory"),
        process("controllers", f"--kubeconfig={kubeconfig}") as controllers,
    ):
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        async with Client(NetworkTransport(load_kubeconfig([kubeconfig]))) as client:
            await client.create(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
            seen: set[str] = set()
            async for events in client.watch(PODS, "0", seconds=20):
                seen |= {event.metadata.name for event in events if event.type == "ADDED"}
                if len(seen) == 2:
                    break
        controllers.send_signal(signal.SIGTERM)
        said, _ = controllers.communicate(timeout=10)
    assert controllers.returncode == 0
    assert said.splitlines()[-1] == "fairway controllers: stopped"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--kubeconfig=/nonexistent/admin.conf",), "/nonexistent/admin.conf: no such file"),
        (("--kubeconfig={valid}", "--ready-fd=987"), "--ready-fd 987: bad file descriptor"),
    ],
)
def test_what_it_cannot_start_with_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    valid = tmp_path / "valid"
    valid.write_text(
        "current-context: c\n"
        "contexts: [{name: c, context: {cluster: c}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
    )
    given = [one.format(valid=valid) for one in arguments]
    ended = subprocess.run((*FAIRWAY, "controllers", *given), capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
