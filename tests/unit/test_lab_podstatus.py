"""What the node agent reports is what kubectl derives its columns from."""

from __future__ import annotations

from typing import Any

from fairway.lab import podstatus
from fairway.objects.cluster import Pod, PodStatus
from fairway.objects.codec import Document, view

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def pod(**status: Any) -> Pod:
    spec = {
        "containers": [{"name": "web", "image": "nginx:1"}, {"name": "log", "image": "log:2"}],
        "initContainers": [{"name": "setup"}, {"name": "mesh", "restartPolicy": "Always"}],
    }
    return view({"metadata": {"name": "web-1", "uid": "u-1"}, "spec": spec, "status": status}, Pod)


def running(of: Pod, now: str = NOW) -> Document:
    return podstatus.running(of, address="10.244.1.2", node_address="172.30.0.1", now=now)


def conditions(status: Document) -> dict[str, str]:
    return {one["type"]: one["status"] for one in status["conditions"]}


def test_a_running_pod_is_ready_in_every_respect() -> None:
    status = running(pod())
    read = view(status, PodStatus)
    assert (read.phase, read.pod_ip, read.host_ip) == ("Running", "10.244.1.2", "172.30.0.1")
    assert set(conditions(status).values()) == {"True"}
    assert [(one["name"], one["ready"]) for one in status["containerStatuses"]] == [("web", True), ("log", True)]


def test_an_init_container_is_done_and_a_sidecar_runs() -> None:
    states = {one["name"]: next(iter(one["state"])) for one in running(pod())["initContainerStatuses"]}
    assert states == {"setup": "terminated", "mesh": "running"}


def test_a_draining_pod_is_not_ready_but_still_initialized() -> None:
    status = podstatus.draining(pod(conditions=running(pod(), THEN)["conditions"]), now=NOW)
    assert conditions(status)["Ready"] == "False"
    assert conditions(status)["Initialized"] == "True"
    assert not any(one["ready"] for one in status["containerStatuses"])


def test_a_condition_that_did_not_change_keeps_its_time() -> None:
    status = podstatus.draining(pod(conditions=running(pod(), THEN)["conditions"]), now=NOW)
    times = {one["type"]: one["lastTransitionTime"] for one in status["conditions"]}
    assert times["Initialized"] == THEN
    assert times["Ready"] == NOW


def test_a_pod_that_cannot_start_waits_and_says_why() -> None:
    status = podstatus.failed(pod(), reason="port 80/TCP: taken", node_address="172.30.0.1", now=NOW)
    assert status["phase"] == "Pending"
    waiting = {one["state"]["waiting"]["message"] for one in status["containerStatuses"]}
    assert waiting == {"port 80/TCP: taken"}
