"""The controllers at work against the real API server, in memory: `fairway.controllers.runner` and all it runs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fairway.objects.cluster import Pod
from fairway.objects.resources import DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, PODS, REPLICA_SETS, SERVICES
from fairway.objects.status import ApiError
from tests.unit.controllers_world import World, world


async def test_a_deployment_becomes_pods_on_nodes_and_endpoints_of_its_service(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1", "n2", "n3")
        await it.deploy("web", 3)
        await it.expose("web")
        pods = await it.pods(3)
        assert Counter(pod.spec.node_name for pod in pods) == {"n1": 1, "n2": 1, "n3": 1}
        assert all(pod.metadata.name.startswith("web-") for pod in pods)
        await it.answering(pods)
        endpoints = await it.endpoints("web", 3)
        assert {e.target_ref.name for e in endpoints if e.target_ref} == {pod.metadata.name for pod in pods}
        await it.until(
            DEPLOYMENTS, lambda all_: all_[0].status.available_replicas == all_[0].status.updated_replicas == 3
        )


async def test_a_scale_goes_all_the_way_to_the_endpoints(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1", "n2")
        await it.deploy("web", 1)
        await it.expose("web")
        await it.answering(await it.pods(1))
        await it.endpoints("web", 1)
        await it.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default")
        await it.answering(await it.pods(5))
        await it.endpoints("web", 5)


@pytest.mark.reference("6.1 own writes")
async def test_a_restart_writes_nothing_when_nothing_has_changed(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1", "n2")
        for name in ("web", "cart"):
            await it.deploy(name, 2)
            await it.expose(name)
        await it.answering(await it.pods(4))
        await it.endpoints("web", 2)
        await it.endpoints("cart", 2)
        await it.until(DEPLOYMENTS, lambda all_: all(one.status.available_replicas == 2 for one in all_))
        await it.stop()
        it.door.writes.clear()
        await it.start()
        # A new Service shows that everything before it in the queues has been worked on.
        await it.expose("late")
        await it.until(ENDPOINT_SLICES, lambda slices: any(one.service_name == "late" for one in slices))
        await it.until(ENDPOINTS, lambda all_: any(one.metadata.name == "late" for one in all_))
        assert sorted(it.door.writes) == [
            "POST /api/v1/namespaces/default/endpoints",
            "POST /apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        ]


async def test_a_restart_in_the_middle_goes_on_and_makes_nothing_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 20)
        await it.until(PODS, lambda pods: len(pods) >= 3)
        await it.stop()
        await it.start()
        await it.pods(20)
        await it.until(REPLICA_SETS, lambda sets: len(sets) == 1 and sets[0].status.replicas == 20)
        assert len((await it.client.list(PODS)).items) == 20
        assert not any(write.startswith("DELETE") for write in it.door.writes)


async def test_what_happens_while_the_server_is_away_is_caught_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fairway")
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 1)
        await it.pods(1)
        it.door.shut()
        await it.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "default")
        await it.door.refused.wait()
        it.door.reopen()
        await it.pods(3)
        # A new Service can only be heard of from a watch that has been taken up again.
        await it.expose("late")
        await it.until(ENDPOINT_SLICES, lambda slices: any(one.service_name == "late" for one in slices))
    messages = [record.message for record in caplog.records]
    assert sum("cannot reach the API server" in message for message in messages) == 1
    assert sum("answers again" in message for message in messages) == 1


async def test_a_new_version_rolls_out_without_a_gap(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1", "n2")
        await it.deploy("web", 2)
        await it.answering(await it.pods(2))
        await it.until(DEPLOYMENTS, lambda all_: all_[0].status.available_replicas == 2)
        image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "v2"}]
        await it.client.patch(DEPLOYMENTS, "web", image, "default", kind="json")
        kubelet = asyncio.create_task(_kubelet(it))
        try:
            sets = await it.until(
                REPLICA_SETS,
                lambda sets: (
                    sorted((one.spec.replicas or 0, one.status.available_replicas) for one in sets) == [(0, 0), (2, 2)]
                ),
            )
            await it.until(DEPLOYMENTS, lambda all_: _progressing(all_[0]) == "NewReplicaSetAvailable")
        finally:
            kubelet.cancel()
            await asyncio.wait([kubelet])
        revisions = {
            one.metadata.annotation("deployment.kubernetes.io/revision"): one.spec.replicas or 0 for one in sets
        }
        assert revisions == {"1": 0, "2": 2}


async def _kubelet(it: World) -> None:
    """Make every pod answer, and end those that are asked to leave."""
    listed = await it.client.list(PODS)
    async for events in it.client.watch(PODS, listed.metadata.resource_version):
        for event in events:
            pod = event.object
            if pod is None or event.type == "DELETED":
                continue
            try:
                if pod.terminating:
                    await it.client.delete(PODS, pod.metadata.name, "default", grace_seconds=0)
                elif pod.spec.node_name and not pod.ready:
                    await it.answering([pod])
            except ApiError as error:
                if error.code not in (404, 409):
                    raise


def _progressing(deployment: Any) -> str:
    return next((one.reason for one in deployment.status.conditions or () if one.type == "Progressing"), "")


async def test_a_pod_that_fits_nowhere_says_why_until_a_node_comes(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.deploy("web", 1)

        def told(pods: list[Pod]) -> bool:
            return any(
                condition.reason == "Unschedulable" and "no nodes available" in condition.message
                for pod in pods
                for condition in pod.status.conditions or ()
            )

        await it.until(PODS, told)
        await it.nodes("n1")
        assert (await it.pods(1))[0].spec.node_name == "n1"


async def test_endpoints_leave_with_their_pods_and_slices_with_their_service(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 2)
        await it.expose("web")
        await it.answering(await it.pods(2))
        await it.endpoints("web", 2)
        await it.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, "default")
        slices = await it.until(
            ENDPOINT_SLICES,
            lambda slices: any(e.terminating for one in slices for e in one.endpoints or ()),
        )
        leaving = [e for one in slices for e in one.endpoints or () if e.terminating]
        assert [(e.ready, e.serving) for e in leaving] == [(False, True)]
        await it.client.delete(SERVICES, "web", "default")
        await it.until(ENDPOINT_SLICES, lambda slices: all(one.service_name != "web" for one in slices))


async def test_a_selectorless_service_keeps_the_slices_that_somebody_wrote(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        spec = {"ports": [{"port": 80}]}
        await it.client.create(SERVICES, {"metadata": {"name": "mine", "namespace": "default"}, "spec": spec})
        made = await it.client.create(
            ENDPOINT_SLICES,
            {
                "metadata": {
                    "name": "mine-1",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "mine"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["192.0.2.1"]}],
                "ports": [{"port": 80}],
            },
        )
        await it.expose("other")
        await it.until(ENDPOINT_SLICES, lambda slices: any(one.service_name == "other" for one in slices))
        found = await it.client.get(ENDPOINT_SLICES, "mine-1", "default")
        assert found.metadata.resource_version == made.metadata.resource_version


async def test_a_pod_that_is_deleted_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 2)
        pods = await it.pods(2)
        gone = pods[0].metadata
        await it.client.delete(PODS, gone.name, "default", grace_seconds=0)
        names = {pod.metadata.name for pod in await it.pods(2)}
        assert gone.name not in names
