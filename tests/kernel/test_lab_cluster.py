"""A whole cluster: up, used, broken, repaired and gone; all of it real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.kernel import namespaces
from fairway.lab import remains
from fairway.lab.errors import LabError
from fairway.lab.manifest import ManifestError
from fairway.lab.running import RunningCluster
from fairway.lab.state import ROOT, State
from fairway.lab.topology import Topology, prefix

pytestmark = pytest.mark.kernel

FAIRWAY = [sys.executable, "-m", "fairway.cli.main"]
MANIFESTS = Path(os.environ.get("FAIRWAY_MANIFESTS") or Path(__file__).parents[2].parent / "shared" / "manifests")
SHOP = Path(__file__).parents[2] / "examples" / "shop"

WEB = """
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: NAMESPACE}
"""


def fairway(*arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FAIRWAY, *arguments], capture_output=True, text=True, timeout=timeout, check=False)


def nothing_is_left_of(name: str) -> bool:
    return not (namespaces.names(prefix(name)) or remains.processes(name) or State(name).exists)


@pytest.fixture
def name(machine_for_labs: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a lab that the test brings up itself; nothing of it outlives the test."""
    chosen = f"fwt-cli-{os.getpid()}"
    yield chosen
    remains.remove(chosen)


def test_what_is_applied_runs_and_every_service_port_passes_the_check(lab: RunningCluster) -> None:
    applied = lab.apply(WEB.replace("NAMESPACE", "applied"))
    assert [one.result for one in applied] == ["created", "created", "created", "skipped"]
    assert [one.result for one in lab.apply(WEB.replace("NAMESPACE", "applied"))][:3] == ["configured"] * 3
    report = lab.check()
    port = next(port for port in report.ports if port.service.namespace == "applied")
    assert port.passed, port.problems
    assert sum(port.backends.values()) == len(port.spread) == 3
    assert port.asked == 6


def test_a_scaled_deployment_changes_who_answers(lab: RunningCluster) -> None:
    lab.apply(WEB.replace("NAMESPACE", "scaled"))
    lab.kubectl("-n", "scaled", "scale", "deployment", "web", "--replicas=5")
    lab.kubectl("-n", "scaled", "rollout", "status", "deployment", "web", "--timeout=20s")
    report = lab.check()
    port = next(port for port in report.ports if port.service.namespace == "scaled")
    assert port.passed, port.problems
    assert len(port.spread) == 5


def test_kubectl_shows_the_pods_as_a_cluster_s(lab: RunningCluster) -> None:
    lab.apply(WEB.replace("NAMESPACE", "shown"))
    rows = [line.split() for line in lab.kubectl("-n", "shown", "get", "pods", "--no-headers").splitlines()]
    assert [(row[1], row[2], row[3]) for row in rows] == [("1/1", "Running", "0")] * 3


def test_a_manifest_that_the_api_refuses_is_named_with_its_object_and_field(lab: RunningCluster) -> None:
    wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 80, nodePort: 30001}], type: Nope}\n"
    with pytest.raises(ManifestError, match=r"manifest: Service default/bad: .*spec\.type"):
        lab.apply(wrong)


def test_pods_that_never_start_are_named_when_the_patience_ends(lab: RunningCluster) -> None:
    stuck = WEB.replace("NAMESPACE", "stuck").replace(
        "spec: {containers:", "spec: {nodeSelector: {no: such}, containers:"
    )
    with pytest.raises(LabError, match=r"not ready after 1 s: deployment stuck/web: 0 of 3 pods ready"):
        lab.apply(stuck, seconds=1)
    lab.kubectl("delete", "namespace", "stuck", "--wait=false")


def test_killed_programs_are_named_and_start_again(
    make_lab: Callable[[Topology], RunningCluster], lab: RunningCluster
) -> None:
    name = lab.topology.name
    lab.apply(WEB.replace("NAMESPACE", "killed"))
    before = json.loads(fairway("lab", "status", "--name", name, "-o", "json").stdout)
    victims = [one for one in before["programs"] if one["role"] in ("apiserver", "proxy-node-2", "pods")]
    for victim in victims:
        handle = os.pidfd_open(victim["pid"])
        os.kill(victim["pid"], signal.SIGKILL)
        wait_for_end(handle)
    shown = fairway("lab", "status", "--name", name)
    assert shown.returncode == 1
    assert shown.stdout.count("not running") == 3
    assert f"fairway lab restart --name {name}" in shown.stdout
    again = fairway("lab", "restart", "--name", name)
    assert again.stdout == "started again: apiserver, pods, proxy-node-2\n"
    report = lab.check()
    assert report.passed, [port.problems for port in report.ports]


def wait_for_end(handle: int) -> None:
    import select

    assert select.select([handle], [], [], 10)[0]
    os.close(handle)


def test_up_shows_a_table_and_down_leaves_nothing(name: str, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(WEB.replace("NAMESPACE", "shop"))
    made = fairway("lab", "up", "--name", name, "--nodes", "2", "--manifest", str(manifest))
    assert made.returncode == 0, made.stderr + made.stdout
    assert "Skipped ServiceAccount (not served here): robot" in made.stdout
    assert "shop/web" in made.stdout
    assert "All checks passed: 4 of 4" in made.stdout
    assert f"export KUBECONFIG={State(name).kubeconfig}" in made.stdout
    again = fairway("lab", "up", "--name", name)
    assert again.returncode == 1
    assert f"a lab called '{name}' is up already; `fairway lab down --name {name}` removes it" in again.stderr
    inside = fairway("lab", "exec", "--name", name, "outside", "--", "curl", "-sS", "172.30.0.1:1", "--max-time", "5")
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


def test_a_program_that_dies_during_up_is_named_with_its_last_words(name: str) -> None:
    # Somebody else has the proxy's port on the node: the namespace is made first, so the test can be that somebody.
    made = fairway("lab", "up", "--name", name, "--mode", "no-such-mode")
    assert made.returncode == 2
    assert "--mode: there is no mode 'no-such-mode'; there is nftables" in made.stderr
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


def test_without_root_a_lab_says_that_it_needs_it(tmp_path: Path) -> None:
    if ROOT.exists() and os.access(ROOT, os.W_OK) and os.geteuid() != 0:
        pytest.skip("this user may make labs")
    drop = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])"
    manifest = tmp_path / "web.yaml"
    manifest.write_text(WEB.replace("NAMESPACE", "shop"))
    tmp_path.chmod(0o755)
    code = "from fairway.lab.state import State; from fairway.lab.topology import cluster; from fairway.lab.errors import LabError\n"
    code += "try: State('fwt-nobody').claim(cluster('fwt-nobody'))\nexcept LabError as error: print(error)"
    answer = subprocess.run(
        [sys.executable, "-c", drop, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "a lab needs root" in answer.stdout, answer.stderr


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
