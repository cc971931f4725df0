"""A whole cluster: up, used, broken, repaired and gone; all of it real processes."""

from __future__ import annotations

import json
import os
import select
import signal

import pytest

from fairway.client.http import Client
from fairway.kernel.command import CommandFailed
from fairway.lab.cluster import Plan
from fairway.lab.errors import LabError
from fairway.lab.manifest import ManifestError
from fairway.lab.processes import ProgramDied
from fairway.lab.running_cluster import RunningCluster
from fairway.lab.topology import cluster
from fairway.objects.resources import DEPLOYMENTS
from tests.kernel.whole_lab import WEB, fairway, nothing_is_left_of

pytestmark = pytest.mark.kernel


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
    lab.kubectl("-n", "scaled", "rollout", "status", "deployment", "web", "--timeout=60s", timeout=90)
    report = lab.check()
    port = next(port for port in report.ports if port.service.namespace == "scaled")
    assert port.passed, port.problems
    assert len(port.spread) == 5


def test_kubectl_shows_the_pods_as_a_cluster_s(lab: RunningCluster) -> None:
    lab.apply(WEB.replace("NAMESPACE", "shown"))
    rows = [line.split() for line in lab.kubectl("-n", "shown", "get", "pods", "--no-headers").splitlines()]
    assert [(row[1], row[2], row[3]) for row in rows] == [("1/1", "Running", "0")] * 3


def test_the_api_server_leads_into_services_and_pods(lab: RunningCluster) -> None:
    lab.apply(WEB.replace("NAMESPACE", "forwarded"))
    pods = lab.kubectl("-n", "forwarded", "get", "pods", "-o", "name").split()
    here = "/api/v1/namespaces/forwarded"
    page = json.loads(lab.kubectl("get", "--raw", f"{here}/services/web:80/proxy/cart?a=b"))
    assert f"pod/{page['pod']}" in pods
    assert page["path"] == "/cart?a=b"
    one = pods[0].removeprefix("pod/")
    assert json.loads(lab.kubectl("get", "--raw", f"{here}/pods/{one}/proxy/"))["pod"] == one


def test_a_node_says_what_it_has_for_pods(lab: RunningCluster) -> None:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    for status in (node["status"] for node in nodes):
        assert status["allocatable"] == status["capacity"]
        assert int(status["allocatable"]["cpu"]) >= 1
        assert status["allocatable"]["pods"] == "252"


def test_the_pods_agent_is_no_administrator(lab: RunningCluster) -> None:
    agent = ("--as", "fairway:lab-pods")
    assert lab.kubectl(*agent, "auth", "can-i", "patch", "pods", "--subresource=status").strip() == "yes"
    pods = ("get", "pods", "-A", "-o", "name")
    assert lab.kubectl(*agent, *pods) == lab.kubectl(*pods) != ""
    for refused in (("get", "secrets"), ("label", "node", "node-1", "mine=yes"), ("delete", "service", "kubernetes")):
        with pytest.raises(CommandFailed, match="Forbidden"):
            lab.kubectl(*agent, *refused)


def test_a_manifest_that_the_api_refuses_is_named_with_its_object_and_field(lab: RunningCluster) -> None:
    wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 80}], type: Nope}\n"
    with pytest.raises(ManifestError, match=r"manifest: Service default/bad: .*spec\.type"):
        lab.apply(wrong)


def test_pods_that_never_start_are_named_when_the_patience_ends(lab: RunningCluster) -> None:
    stuck = WEB.replace("NAMESPACE", "stuck").replace(
        "spec: {containers:", "spec: {nodeSelector: {disk: none}, containers:"
    )

    async def until_seen(client: Client) -> None:
        """By the controllers, before the patience begins whose words are tested."""
        async for events in client.watch(DEPLOYMENTS, "0", seconds=60):
            for one in (event.object for event in events):
                if one is not None and one.metadata.namespace == "stuck" and one.status.replicas == 3:
                    return
        raise AssertionError("the controllers have made no pods")

    with pytest.raises(LabError, match="not ready after 0 s"):
        lab.apply(stuck, seconds=0)
    lab.api(until_seen)
    with pytest.raises(LabError, match=r"not ready after 2 s: deployment stuck/web: 0 of 3 pods ready"):
        lab.apply(stuck, seconds=2)
    lab.kubectl("delete", "namespace", "stuck", "--wait=false")


def test_killed_programs_are_named_and_start_again(lab: RunningCluster) -> None:
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


def test_a_program_that_dies_during_up_is_named_with_its_last_words_and_nothing_is_left() -> None:
    plan = Plan(cluster(f"fwt-dies-{os.getpid()}", 1), mode="no-such-mode", temporary=True)
    with pytest.raises(ProgramDied) as caught:
        RunningCluster(plan).__enter__()
    assert str(caught.value).startswith("proxy-node-1 ended with exit code ")
    assert "no-such-mode" in str(caught.value)
    assert nothing_is_left_of(plan.topology.name)


def wait_for_end(handle: int) -> None:
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)
