"""`fairway advise` on a real kernel: what this machine can do is tried beside it, and measured when asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fairway.cli.main import run
from fairway.diagnose.facts import this_machine
from fairway.kernel import namespaces
from fairway.modes.registry import MODES

pytestmark = pytest.mark.kernel

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}"


def test_every_mode_is_tried_and_nothing_is_left_behind() -> None:
    machine = this_machine()
    assert machine.cannot is not None
    assert set(machine.cannot) == set(MODES)
    assert machine.cannot["nftables"] == ""
    assert namespaces.names(f"fairway-advise-{os.getpid()}") == []


def test_a_cost_is_measured_where_the_mode_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "service.yaml"
    manifest.write_text(SERVICE)
    assert run(["advise", "-f", str(manifest), "--measure", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cost = found["facts"]["candidates"]["nftables"]["cost"]
    assert 0 < cost["connect"] < 1
    assert 0 < cost["change"] < 10
    assert found["advice"]["rests_on"][0].startswith("what was measured on this machine")
