"""Unit tests of `fairway.controllers.claims`, and of adoption by the controllers that use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairway.controllers.claims import adoption, claim, release, selector_of
from fairway.objects.cluster import Pod
from fairway.objects.codec import view
from fairway.objects.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from fairway.objects.workloads import LabelSelector, ReplicaSet
from tests.unit.cluster_parts import pod
from tests.unit.controllers_world import World, world

SELECTOR = LabelSelector(match_labels={"app": "web"})


def owner(**meta: Any) -> ReplicaSet:
    return view({"metadata": {"namespace": "shop", "name": "rs", "uid": "uid-rs", **meta}}, ReplicaSet)


def owned(name: str, uid: str, **more: Any) -> Pod:
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": True}
    return pod(name, meta={"ownerReferences": [reference]}, **more)


def test_what_matches_and_is_free_is_adopted_and_what_does_not_match_is_let_go() -> None:
    mine, strange, free = owned("mine", "uid-rs"), owned("strange", "uid-other"), pod("free")
    changed = owned("changed", "uid-rs", labels={"app": "debug"})
    other = pod("other", labels={"app": "db"})
    found = claim(owner(), SELECTOR, [mine, strange, free, changed, other])
    assert (found.mine, found.adopt, found.release) == ((mine,), (free,), (changed,))


def test_nobody_on_the_way_out_adopts_or_is_adopted() -> None:
    going = {"deletionTimestamp": "2026-01-02T03:04:05Z"}
    assert claim(owner(**going), SELECTOR, [pod("free")]).adopt == ()
    assert claim(owner(), SELECTOR, [pod("free", meta=going)]).adopt == ()


@pytest.mark.parametrize(
    "selector",
    [LabelSelector(), view({"matchExpressions": [{"key": "app", "operator": "Like"}]}, LabelSelector)],
    ids=["empty", "unknown operator"],
)
def test_a_selector_that_says_nothing_claims_nothing(selector: LabelSelector) -> None:
    assert selector_of(selector) is None
    assert claim(owner(), selector, [pod("free")]).adopt == ()


def test_other_owners_stay() -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "uid-c"}
    free = pod("free", meta={"ownerReferences": [reference]})
    taken = adoption("ReplicaSet", owner(), free)["metadata"]["ownerReferences"]
    assert [one["uid"] for one in taken] == ["uid-c", "uid-rs"]
    assert release(owner(), owned("p", "uid-rs"))["metadata"]["ownerReferences"] is None


async def orphan(it: World, name: str, **meta: Any) -> None:
    metadata = {"name": name, "namespace": "default", **meta}
    await it.client.create(PODS, {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "x"}]}})


async def test_a_replica_set_takes_up_a_pod_that_matches_instead_of_making_one(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await orphan(it, "mine", labels={"app": "web"})
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        await it.client.create(REPLICA_SETS, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        pods = await it.until(PODS, lambda pods: len(pods) == 2 and all(pod.metadata.controller() for pod in pods))
        assert "mine" in {pod.metadata.name for pod in pods}
        # A label that somebody takes away sets the pod free, and another takes its place.
        await it.client.patch(PODS, "mine", {"metadata": {"labels": {"app": "debug"}}}, "default")
        pods = await it.until(PODS, lambda pods: len(pods) == 3)
        pods = await it.until(
            PODS, lambda pods: [one.metadata.name for one in pods if not one.metadata.controller()] == ["mine"]
        )
        # And back again it is one too many.
        await it.client.patch(PODS, "mine", {"metadata": {"labels": {"app": "web"}}}, "default")
        await it.until(PODS, lambda pods: len([one for one in pods if not one.terminating]) == 2)


async def test_a_deployment_takes_up_a_replica_set_that_was_orphaned(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 2)
        before = {pod.metadata.name for pod in await it.pods(2)}
        (kept,) = (await it.client.list(REPLICA_SETS)).items
        await it.stop()
        nobodys = {"metadata": {"ownerReferences": None}}
        await it.client.patch(REPLICA_SETS, kept.metadata.name, nobodys, "default")
        await it.client.delete(DEPLOYMENTS, "web", "default")
        await it.start()
        await it.deploy("web", 2)
        await it.until(REPLICA_SETS, lambda sets: len(sets) == 1 and sets[0].metadata.controller() is not None)
        assert {pod.metadata.name for pod in await it.pods(2)} == before
