"""`fairway conform`: a mode that does its work passes, one that does not is caught, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.cli.main import run
from fairway.conform.run import conform
from fairway.conform.scenario import FOLDER, Scenario, Step
from fairway.kernel import namespaces
from fairway.lab.state import names
from fairway.modes.registry import MODES

pytestmark = pytest.mark.kernel


def test_the_command_plays_the_scenarios_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conform", "--mode", "nftables", "--scenario", "hairpin", "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["passed"]] == ["hairpin"]
    assert (found["failed"], found["not_applicable"], found["packets"]) == ([], [], 3)
    assert not namespaces.names(f"fw-conform-{os.getpid()}.")


def test_a_packet_that_ends_otherwise_is_told_with_its_way(tmp_path: Path) -> None:
    """The scenario claims what is not so: that a pod of node-2 reaches a backend which the Service does not have."""
    folder = tmp_path / "mistaken"
    shutil.copytree(FOLDER / "cross-node", folder)
    packets = (folder / "packets.txt").read_text().splitlines()
    wrong = [line.replace("web-2:8080 web-3:8080", "web-1:8080") if "client-2" in line else line for line in packets]
    (folder / "packets.txt").write_text("\n".join(wrong))
    told: list[str] = []
    mistaken = Scenario(folder, (Step(folder, ""),))
    report = conform(MODES["nftables"], [mistaken], lambda kind, result: told.append(f"{kind} {result.name}"))
    assert told == ["failed mistaken"]
    assert report.passed == []
    reason = report.failed[0].reason
    assert "mistaken/packets.txt:3: tcp 10.244.2.2 -> 10.96.0.11:80 from client-2" in reason
    assert "expected deliver web-1:8080 as client\n" in reason
    assert "came     Answer(result='answered', pod='web-" in reason
    assert "because of Service shop/web spec.ports[0]" in reason
    assert "client-1" not in reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "fairway", "conform", "--mode", "nftables"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("passed")
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode in (128 + number, -number)
    assert not namespaces.names(f"fw-conform-{process.pid}.")
    assert f"conform-{process.pid}" not in names()
