"""``fairway controllers`` as a process: ready, at work, stopped; and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.client.http import Client
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.controllers.heartbeat import Heartbeat
from fairway.objects.cluster import Node
from fairway.objects.resources import DEPLOYMENTS, NODES, PODS

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
            assert ready.readline() == "ready\n", started.communicate(timeout=30)[0]
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
            async for events in client.watch(PODS, "0", seconds=60):
                seen |= {event.metadata.name for event in events if event.type == "ADDED"}
                if len(seen) == 2:
                    break
        controllers.send_signal(signal.SIGTERM)
        said, _ = controllers.communicate(timeout=30)
    assert controllers.returncode == 0
    assert said.splitlines()[-1] == "fairway controllers: stopped"


async def test_a_killed_leader_is_replaced_and_one_that_stops_is_at_once(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "admin.conf"
    election = (
        "--leader-elect-lease-duration=5s",
        "--leader-elect-renew-deadline=4s",
        "--leader-elect-retry-period=500ms",
    )
    with (
        process("apiserver", f"--data-dir={tmp_path}", "--secure-port=0", "--storage=memory"),
        process("controllers", f"--kubeconfig={kubeconfig}", *election) as first,
        standing_by("controllers", f"--kubeconfig={kubeconfig}", *election) as second,
    ):
        first.kill()
        first.wait()
        assert "ready" in line_with(second, "fairway controllers: ready")
        with standing_by("controllers", f"--kubeconfig={kubeconfig}", *election) as third:
            second.send_signal(signal.SIGTERM)
            assert second.wait(30) == 0
            assert "ready" in line_with(third, "fairway controllers: ready")


@contextmanager
def standing_by(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Controllers that have said that somebody else leads."""
    started = subprocess.Popen(
        (*FAIRWAY, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        line_with(started, "standing by: ")
        yield started
    finally:
        started.kill()
        started.communicate()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """The next line that a process says with these words in it."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}: {said}")


async def test_a_node_whose_agent_is_gone_is_unknown_until_it_comes_back(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "admin.conf"
    with (
        process("apiserver", f"--data-dir={tmp_path}", "--secure-port=0", "--storage=memory"),
        process("controllers", f"--kubeconfig={kubeconfig}", "--node-monitor-grace-period=2s"),
    ):
        async with Client(NetworkTransport(load_kubeconfig([kubeconfig]))) as client, asyncio.timeout(60):
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            await client.create(NODES, {"metadata": {"name": "n1"}, "status": ready})
            beat = Heartbeat(client, ["n1"], interval=0.25)
            await beat.beat("n1")
            await until(client, lambda node: not node.ready and len(node.spec.taints or ()) == 2)
            beating = asyncio.create_task(beat.run())
            await until(client, lambda node: node.ready and not node.spec.taints)
            beating.cancel()


async def until(client: Client, holds: Callable[[Node], bool]) -> None:
    async for events in client.watch(NODES, "0", seconds=60):
        for event in events:
            if event.object is not None and holds(event.object):
                return
    raise AssertionError("the watch has ended")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--kubeconfig=/nonexistent/admin.conf",), "/nonexistent/admin.conf: no such file"),
        (("--kubeconfig={valid}", "--ready-fd=987"), "--ready-fd 987: bad file descriptor"),
        (
            ("--kubeconfig={valid}", "--node-monitor-grace-period=40"),
            "'40' is not a duration: expected",
        ),
        (("--kubeconfig={valid}", "--node-monitor-grace-period=500ms"), "500ms is too short: expected 1s or more"),
        (
            ("--kubeconfig={valid}", "--leader-elect-renew-deadline=20s"),
            "longer than the renew deadline (20 s)",
        ),
        (("--kubeconfig={valid}", "--leader-elect-lease-duration=15.5s"), "15.5s is not in whole seconds"),
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
