"""``fairway lab`` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.lab import remains
from fairway.lab.state import State
from tests.kernel.whole_lab import FAIRWAY, MANIFESTS, SHOP, WEB, fairway, nothing_is_left_of

pytestmark = pytest.mark.kernel


@pytest.fixture
def name(machine_for_labs: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a lab that the test brings up itself; nothing of it outlives the test."""
    chosen = f"fwt-cli-{os.getpid()}"
    yield chosen
    remains.remove(chosen)


def test_up_shows_a_table_and_down_leaves_nothing(name: str, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(WEB.replace("NAMESPACE", "shop"))
    made = fairway("lab", "up", "--name", name, "--nodes", "2", "--manifest", str(manifest))
    assert made.returncode == 0, made.stderr + made.stdout
    assert "Skipped PodDisruptionBudget (not served here): at-least-one" in made.stdout
    assert "shop/web" in made.stdout
    assert "All checks passed: 4 of 4" in made.stdout
    assert f"export KUBECONFIG={State(name).kubeconfig}" in made.stdout
    for line in made.stdout.split("What to try next")[1].splitlines():
        # Two columns: the command, and what it is for. What is proposed must work as it stands.
        command = line.strip().partition("  ")[0]
        if command.startswith("fairway ") and " down" not in command:
            tried = fairway(*command.split()[1:], KUBECONFIG=str(State(name).kubeconfig))
            assert tried.returncode == 0, (command, tried.stderr)
            assert tried.stdout
    again = fairway("lab", "up", "--name", name)
    assert again.returncode == 1
    assert f"a lab called '{name}' is up already; `fairway lab down --name {name}` removes it" in again.stderr
    inside = fairway("lab", "exec", "--name", name, "outside", "--", "curl", "-sS", "172.30.0.1:1", "--max-time", "30")
    assert inside.returncode == 7  # curl's own code for a refused connection
    gone = fairway("lab", "down", "--name", name)
    assert gone.stdout.startswith(f"The lab '{name}' is gone: ")
    assert nothing_is_left_of(name)
    assert fairway("lab", "down", "--name", name).stdout.startswith(f"There is no lab called '{name}'")


def test_up_that_is_killed_leaves_nothing_after_down(name: str) -> None:
    for words in ("network", "API server", "controllers", "pods"):
        with subprocess.Popen(
            [*FAIRWAY, "lab", "up", "--name", name], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(words):
                    break
            process.kill()
        refused = fairway("lab", "up", "--name", name)
        assert f"a lab called '{name}' was left half made" in refused.stderr
        assert fairway("lab", "down", "--name", name).returncode == 0
        assert nothing_is_left_of(name)


def test_up_that_is_interrupted_cleans_up_itself(name: str) -> None:
    with subprocess.Popen(
        [*FAIRWAY, "lab", "up", "--name", name], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("controllers"):
                break
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(30) == 130
    assert nothing_is_left_of(name)


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--mode=no-such-mode", "--mode: there is no mode 'no-such-mode'; there is nftables"),
        ("--patience=0", "--patience: 0 is no time to wait; it must be more than 0 seconds"),
    ],
)
def test_a_wrong_flag_is_refused_with_what_would_be_right(name: str, flag: str, words: str) -> None:
    made = fairway("lab", "up", "--name", name, flag)
    assert made.returncode == 2
    assert words in made.stderr
    assert nothing_is_left_of(name)


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "No such file or directory"),
        ("kind: [", "line "),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: x}]}", "spec.ports[0].port: "),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_before_anything_is_made(
    name: str, tmp_path: Path, text: str | None, words: str
) -> None:
    manifest = tmp_path / "m.yaml"
    if text is not None:
        manifest.write_text(text)
    made = fairway("lab", "up", "--name", name, "--manifest", str(manifest))
    assert made.returncode == 2
    assert made.stderr.startswith(f"fairway: error: {manifest}: ")
    assert words in made.stderr
    assert nothing_is_left_of(name)


@pytest.mark.parametrize("command", ["status", "check", "logs", "restart"])
def test_without_a_lab_every_command_says_so(command: str) -> None:
    answer = fairway("lab", command, "--name", "fwt-none")
    assert answer.returncode == 1
    assert "there is no lab called 'fwt-none'" in answer.stderr


def test_without_root_a_lab_says_that_it_needs_it() -> None:
    as_nobody = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); exec(sys.argv[1])"
    claim = "from fairway.lab.state import *; from fairway.lab.topology import cluster; State('x').claim(cluster('x'))"
    answer = subprocess.run(
        [sys.executable, "-c", f"from fairway.lab import state, topology; {as_nobody}", claim],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "LabError: a lab needs root" in answer.stderr


@pytest.mark.parametrize("manifest", ["online-boutique.yaml", "sock-shop.yaml", "shop"])
def test_real_applications_come_up_unmodified(name: str, manifest: str) -> None:
    path = SHOP if manifest == "shop" else MANIFESTS / manifest
    if not path.exists():
        pytest.skip(f"{path} is not there; FAIRWAY_MANIFESTS names the folder with the manifests of real applications")
    made = fairway("lab", "up", "--name", name, "--manifest", str(path), "--output", "json")
    assert made.returncode == 0, made.stderr + made.stdout
    report: dict[str, Any] = json.loads(made.stdout)["report"]
    assert len(report["ports"]) >= 12
    for port in report["ports"]:
        assert (port["problems"], port["right"]) == ([], port["asked"])
        assert sum(port["backends"].values()) == len(port["spread"]) >= 1
