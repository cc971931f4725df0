"""The Python clients of Kubernetes against a real server process: each lives through the life of a Service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kr8s
import kubernetes
import pytest
from kr8s.asyncio import objects as kr8s_objects
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from lightkube import ApiError, Client, KubeConfig
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Service
from lightkube.types import PatchType

pytestmark = pytest.mark.clients

TIMEOUT = 30


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a server that runs as a process of its own."""
    directory = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [sys.executable, "-m", "fairway", "apiserver", "--data-dir", str(directory), "--secure-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        line = process.stdout.readline()
        try:
            assert re.search(r"ready on https://", line), line
            yield directory / "admin.conf"
        finally:
            process.terminate()
            process.wait(TIMEOUT)


@pytest.fixture
def official(kubeconfig: Path) -> Iterator[kubernetes.client.ApiClient]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as api:
        yield api
        api.rest_client.pool_manager.clear()


def manifest(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
    }


def test_the_official_client_lives_through_the_life_of_a_service(official: kubernetes.client.ApiClient) -> None:
    core = kubernetes.client.CoreV1Api(official)
    created = core.create_namespaced_service("default", manifest("official"))
    assert created.spec.cluster_ip.startswith("10.")
    assert created.metadata.managed_fields[0].manager == "OpenAPI-Generator"
    watch = kubernetes.watch.Watch()
    told = watch.stream(
        core.list_namespaced_service,
        "default",
        label_selector="app=official",
        resource_version=created.metadata.resource_version,
        timeout_seconds=TIMEOUT,
    )
    core.patch_namespaced_service("official", "default", {"spec": {"type": "NodePort"}})
    found = core.read_namespaced_service("official", "default")
    assert 30000 <= found.spec.ports[0].node_port <= 32767
    found.spec.session_affinity = "ClientIP"
    replaced = core.replace_namespaced_service("official", "default", found)
    assert replaced.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    assert [one.metadata.name for one in core.list_namespaced_service("default", label_selector="app").items] == [
        "official"
    ]
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.create_namespaced_service("default", manifest("official"))
    assert refused.value.status == 409
    core.delete_namespaced_service("official", "default")
    events = [(event["type"], event["object"].spec.session_affinity) for _, event in zip(range(3), told, strict=False)]
    told.close()
    assert events == [("MODIFIED", "None"), ("MODIFIED", "ClientIP"), ("DELETED", "ClientIP")]
    with pytest.raises(kubernetes.client.ApiException) as missing:
        core.read_namespaced_service("official", "default")
    assert missing.value.status == 404


def test_the_official_client_applies_on_the_server(official: kubernetes.client.ApiClient) -> None:
    core = kubernetes.client.CoreV1Api(official)

    def apply(manager: str, document: dict[str, Any], **options: Any) -> Any:
        return core.patch_namespaced_service(
            "applied",
            "default",
            document,
            field_manager=manager,
            _content_type="application/apply-patch+yaml",
            **options,
        )

    apply("one", manifest("applied"))
    other = manifest("applied")
    other["spec"]["selector"] = {"app": "other"}
    with pytest.raises(kubernetes.client.ApiException) as refused:
        apply("two", other)
    assert 'conflict with \\"one\\": .spec.selector' in refused.value.body
    assert apply("two", other, force=True).spec.selector == {"app": "other"}
    core.delete_namespaced_service("applied", "default")


def test_the_official_client_elects_one_leader_after_the_other(official: kubernetes.client.ApiClient) -> None:
    led: list[str] = []

    def candidate(name: str) -> threading.Thread:
        def lead() -> None:
            lease = kubernetes.client.CoordinationV1Api(official).read_namespaced_lease("leader", "default")
            led.append(lease.spec.holder_identity)
            raise InterruptedError("enough of leading")

        lock = LeaseLock("leader", "default", name)
        lock.api_instance = kubernetes.client.CoordinationV1Api(official)
        config = electionconfig.Config(
            lock,
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lead,
            onstopped_leading=lambda: led.append(f"{name} stopped"),
        )
        thread = threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        return thread

    assert not candidate("first").is_alive()
    assert not candidate("second").is_alive()
    assert led == ["first", "first stopped", "second", "second stopped"]


def test_lightkube_lives_through_the_life_of_a_service(kubeconfig: Path) -> None:
    with Client(config=KubeConfig.from_file(str(kubeconfig)), namespace="default", field_manager="lightkube") as opened:
        client: Any = opened
        service = Service(
            metadata=ObjectMeta(name="light", labels={"app": "light"}),
            spec=ServiceSpec(selector={"app": "light"}, ports=[ServicePort(port=80)]),
        )
        created = client.create(service)
        assert created.spec.clusterIP.startswith("10.")
        patched = client.patch(Service, "light", {"metadata": {"labels": {"tier": "a"}}}, patch_type=PatchType.MERGE)
        assert patched.metadata.labels == {"app": "light", "tier": "a"}
        patched.spec.type = "NodePort"
        assert client.replace(patched).spec.ports[0].nodePort >= 30000
        applied = client.apply(
            Service(
                apiVersion="v1",
                kind="Service",
                metadata=ObjectMeta(name="light", annotations={"note": "applied"}),
                spec=ServiceSpec(ports=[ServicePort(port=80, protocol="TCP")]),
            )
        )
        assert applied.metadata.annotations == {"note": "applied"}
        owners = {(one.manager, one.operation) for one in applied.metadata.managedFields}
        assert owners == {("lightkube", "Update"), ("lightkube", "Apply")}
        assert [one.metadata.name for one in client.list(Service, labels={"tier": "a"})] == ["light"]
        told = client.watch(Service, labels={"app": "light"}, resource_version=created.metadata.resourceVersion)
        client.delete(Service, "light")
        kinds = []
        for kind, _ in told:
            kinds.append(kind)
            if kind == "DELETED":
                break
        assert kinds == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
        with pytest.raises(ApiError) as missing:
            client.get(Service, "light")
        assert missing.value.status.code == 404


@pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning")  # It counts to 1.35.
async def test_kr8s_lives_through_the_life_of_a_service(kubeconfig: Path) -> None:
    api: Any = await kr8s.asyncio.api(kubeconfig=str(kubeconfig), namespace="default")
    service = await kr8s_objects.Service(manifest("crates"), api=api)
    await service.create()
    assert service.raw["spec"]["clusterIP"].startswith("10.")
    assert await service.exists()
    await service.patch({"spec": {"type": "NodePort"}})
    assert service.raw["spec"]["ports"][0]["nodePort"] >= 30000
    await service.label(tier="b")
    assert service.labels == {"app": "crates", "tier": "b"}
    assert [one.name async for one in api.get("services", label_selector="tier=b")] == ["crates"]
    told = api.watch("services", label_selector="app=crates", since=service.raw["metadata"]["resourceVersion"])
    await service.delete()
    async for kind, one in told:
        assert (kind, one.name) == ("DELETED", "crates")
        break
    assert not await service.exists()
    assert api._session is not None
    await api._session.aclose()  # It has no other way to close its connections.
