"""The benchmark runs a real proxy and tells what it saw; how fast that was is not this test's business."""

from __future__ import annotations

import json
import os

import pytest

from fairway.bench.process import Program
from fairway.bench.programming import SUSTAINED_SECONDS, measure
from fairway.bench.shape import Shape
from fairway.cli.main import run
from fairway.kernel import namespaces

pytestmark = pytest.mark.kernel


def test_a_run_has_every_figure_and_leaves_no_namespace() -> None:
    found = measure(Shape(services=3, backends=2), changes=4, program=Program(mode="nftables"), rate=20)
    assert (found["mode"], found["services"], found["backends"], found["changes"]) == ("nftables", 3, 2, 4)
    assert 0 < found["change_seconds"]["p50"] <= found["change_seconds"]["p99"] <= found["change_seconds"]["max"]
    assert found["cold_seconds"] > 0
    assert found["first_change_seconds"] > 0
    assert found["cpu_seconds_per_change"] >= 0
    assert found["rss_bytes"] > 10 << 20
    kept = found["sustained"]
    assert (kept["changes_per_second"], kept["changes"]) == (20, 20 * SUSTAINED_SECONDS)
    assert 0 < kept["commits"] <= kept["changes"]
    assert kept["seconds"] > SUSTAINED_SECONDS - 1
    # three frontends, their two slots each, and what is there without any Service
    assert found["elements"] >= 3 + 6
    assert not namespaces.names(f"fairway-bench-{os.getpid()}")


@pytest.mark.parametrize("form", ["iptables", "iptables:flat:legacy"])
def test_a_backend_that_is_the_only_one_leaves_and_comes_back(form: str) -> None:
    """That changes two tables, of which the kernel tells one by one, or not at all."""
    found = measure(Shape(services=1, backends=1), changes=4, program=Program.named(form), rate=2)
    assert found["proxy"].startswith("fairway proxy --proxy-mode=iptables")
    assert 0 < found["change_seconds"]["p50"] <= found["change_seconds"]["max"]
    assert 0 < found["sustained"]["commits"] <= found["sustained"]["changes"]
    assert found["elements"] > 30
    assert not namespaces.names(f"fairway-bench-{os.getpid()}")


def test_several_runs_are_told_by_their_medians_and_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("--services", "1", "--backends", "1", "--changes", "1", "--rate", "0", "--pause", "0.01")
    assert run(["bench", "programming", *shape, "--repeat", "2", "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["repeat"], len(found["each"]), found["pause_seconds"]) == (2, 2, 0.01)
    for figure in ("cold_seconds", "first_change_seconds", "change_seconds", "cpu_seconds_per_change"):
        assert found[figure] in [one[figure] for one in found["each"]]
    assert "sustained" not in found
