"""Unit tests of `fairway.controllers.deployments`, `rollout` and `progress`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.controllers.deployments import Changes, find_new, reconcile, template_hash
from fairway.controllers.rollout import limits
from fairway.objects.codec import view
from fairway.objects.workloads import Deployment, ReplicaSet
from fairway.runtime.clock import parse_rfc3339, rfc3339

NOW = parse_rfc3339("2026-01-02T03:04:05Z")


def template(version: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": version}]}}


def deployment(
    replicas: int = 3, version: str = "v1", *, meta: dict[str, Any] | None = None, **spec: Any
) -> Deployment:
    return view(
        {
            "metadata": {"namespace": "shop", "name": "web", "uid": "uid-d", "generation": 1, **(meta or {})},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(version),
                **spec,
            },
        },
        Deployment,
    )


def replica_set(
    version: str, replicas: int, available: int | None = None, *, revision: int = 1, pods: int | None = None
) -> ReplicaSet:
    available = replicas if available is None else available
    pods = replicas if pods is None else pods
    hashed = template_hash(template(version))
    labelled = template(version)
    labelled["metadata"]["labels"]["pod-template-hash"] = hashed
    return view(
        {
            "metadata": {
                "namespace": "shop",
                "name": f"web-{hashed}",
                "uid": f"uid-{version}",
                "creationTimestamp": rfc3339(NOW - 1000 + revision),
                "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            },
            "spec": {"replicas": replicas, "template": labelled},
            "status": {"replicas": pods, "readyReplicas": available, "availableReplicas": available},
        },
        ReplicaSet,
    )


def step(given: Deployment, *owned: ReplicaSet, pods: dict[str, int] | None = None, now: float = NOW) -> Changes:
    counted = {one.metadata.uid: one.status.replicas for one in owned}
    return reconcile(given, owned, counted if pods is None else pods, now)


def scales(changes: Changes) -> dict[str, int]:
    """The new number of each ReplicaSet that is scaled, by its uid."""
    return {
        one.metadata.uid: patch["spec"]["replicas"]
        for one, patch in changes.patch
        if "replicas" in patch.get("spec", {})
    }


@pytest.mark.parametrize(
    "replicas, surge, unavailable, expected",
    [
        (3, None, None, (1, 0)),
        (10, None, None, (3, 2)),
        (3, 0, 1, (0, 1)),
        (3, "50%", "50%", (2, 1)),
        (1, "0%", "10%", (0, 1)),
        (4, "100%", 0, (4, 0)),
    ],
    ids=["defaults", "defaults of ten", "numbers", "percentages", "never both zero", "all at once"],
)
def test_limits(replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    given = deployment(replicas, strategy={"rollingUpdate": {k: v for k, v in rolling.items() if v is not None}})
    assert limits(given) == expected


def test_a_new_deployment_gets_a_replica_set_of_its_whole_size() -> None:
    given = deployment(meta={"annotations": {"kubernetes.io/change-cause": "first"}})
    changes = step(given)
    assert changes.create is not None
    made = changes.create
    hashed = template_hash(given.spec.template)
    assert made["metadata"]["name"] == f"web-{hashed}"
    assert made["metadata"]["labels"] == {"app": "web", "pod-template-hash": hashed}
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/change-cause": "first",
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["selector"] == {"matchLabels": {"app": "web", "pod-template-hash": hashed}}
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": hashed}
    assert changes.annotations == {"deployment.kubernetes.io/revision": "1"}


def test_the_hash_does_not_depend_on_the_order_of_fields_nor_on_itself() -> None:
    a, b = {"x": 1, "y": [{"p": 1, "q": 2}]}, {"y": [{"q": 2, "p": 1}], "x": 1}
    assert template_hash(a) == template_hash(b)
    assert template_hash(template("v1")) != template_hash(template("v2"))
    made = step(deployment()).create
    assert made is not None
    assert template_hash(made["spec"]["template"]) == template_hash(template("v1"))


def test_a_scale_goes_to_the_only_replica_set() -> None:
    assert scales(step(deployment(5), replica_set("v1", 3))) == {"uid-v1": 5}
    assert scales(step(deployment(0), replica_set("v1", 3))) == {"uid-v1": 0}
    assert scales(step(deployment(3), replica_set("v1", 3))) == {}


def test_a_new_version_starts_with_the_surge() -> None:
    changes = step(deployment(3, "v2"), replica_set("v1", 3))
    assert changes.create is not None
    assert changes.create["spec"]["replicas"] == 1
    assert changes.create["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


@pytest.mark.parametrize(
    "new, old, expected",
    [
        ((1, 0), (3, 3), {}),
        ((1, 1), (3, 3), {"uid-v1": 2}),
        ((1, 1), (2, 2), {"uid-v2": 2}),
        ((2, 2), (2, 2), {"uid-v1": 1}),
        ((3, 3), (1, 1), {"uid-v1": 0}),
        ((1, 0), (3, 1), {}),
        ((3, 3), (0, 0), {}),
    ],
    ids=[
        "waits for the new one",
        "an old one may go",
        "room for a new one",
        "the next",
        "the last",
        "too few answer",
        "done",
    ],
)
def test_a_rollout_step_by_step(new: tuple[int, int], old: tuple[int, int], expected: dict[str, int]) -> None:
    changes = step(deployment(3, "v2"), replica_set("v1", *old), replica_set("v2", *new, revision=2))
    assert scales(changes) == expected


def test_old_pods_that_do_not_answer_go_first() -> None:
    given = deployment(4, "v3", strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}})
    broken, good = replica_set("v1", 2, 0), replica_set("v2", 2, 2, revision=2)
    assert scales(step(given, broken, good, replica_set("v3", 0, revision=3))) == {"uid-v1": 0}


def _play(given: Deployment, sets: dict[str, ReplicaSet]) -> list[tuple[int, int]]:
    """Roll until nothing happens, every pod answering at once; returns (pods, those that answer) at each step."""
    seen = []
    for _ in range(100):
        changes = step(given, *sets.values())
        if changes.create is not None:
            made = view({**changes.create, "metadata": {**changes.create["metadata"], "uid": "new"}}, ReplicaSet)
            sets["new"] = made
        for uid, replicas in scales(changes).items():
            spec = msgspec.structs.replace(sets[uid].spec, replicas=replicas)
            sets[uid] = msgspec.structs.replace(sets[uid], spec=spec)
        before = sum(min(one.replicas, one.status.available_replicas) for one in sets.values())
        seen.append((sum(one.replicas for one in sets.values()), before))
        for uid, one in sets.items():
            status = msgspec.structs.replace(
                one.status, replicas=one.replicas, ready_replicas=one.replicas, available_replicas=one.replicas
            )
            sets[uid] = msgspec.structs.replace(one, status=status)
        if changes.create is None and not scales(changes):
            return seen
    raise AssertionError("the rollout does not end")


@pytest.mark.parametrize("surge, unavailable", [(1, 0), (0, 1), (2, 3), ("25%", "25%"), ("100%", "100%")])
@pytest.mark.parametrize("replicas", [0, 1, 3, 10])
def test_a_rollout_ends_and_never_leaves_its_limits(replicas: int, surge: Any, unavailable: Any) -> None:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    given = deployment(replicas, "v2", strategy=strategy)
    sets = {"uid-v1": replica_set("v1", replicas)}
    seen = _play(given, sets)
    most, fewest = limits(given)
    assert {uid: one.replicas for uid, one in sets.items()} == {"uid-v1": 0, "new": replicas}
    assert max(pods for pods, _ in seen) <= replicas + most
    assert min(answering for _, answering in seen) >= replicas - fewest


def test_recreate_waits_until_the_last_old_pod_has_gone() -> None:
    given = deployment(3, "v2", strategy={"type": "Recreate"})
    assert scales(step(given, replica_set("v1", 3))) == {"uid-v1": 0}
    leaving = step(given, replica_set("v1", 0), pods={"uid-v1": 1})
    assert (leaving.create, scales(leaving)) == (None, {})
    gone = step(given, replica_set("v1", 0), pods={})
    assert gone.create is not None
    assert gone.create["spec"]["replicas"] == 3


def test_a_paused_deployment_does_not_roll_but_scales() -> None:
    paused = deployment(5, "v2", paused=True)
    changes = step(paused, replica_set("v1", 3))
    assert changes.create is None
    assert scales(changes) == {"uid-v1": 5}


def test_a_rollback_reuses_the_old_replica_set_and_gives_it_the_next_revision() -> None:
    old, new = replica_set("v1", 0, revision=1), replica_set("v2", 3, revision=2)
    changes = step(deployment(3, "v1"), old, new)
    assert changes.create is None
    patch = {one.metadata.uid: patch for one, patch in changes.patch}["uid-v1"]
    assert patch["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "3",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert patch["spec"]["replicas"] == 1
    assert changes.annotations == {"deployment.kubernetes.io/revision": "3"}


def test_old_versions_beyond_the_limit_go() -> None:
    versions = [replica_set(f"v{number}", 0, revision=number) for number in range(1, 5)]
    current = replica_set("v9", 3, revision=9)
    given = deployment(3, "v9", revisionHistoryLimit=2)
    assert [one.revision for one in step(given, *versions, current).delete] == [1, 2]
    assert step(deployment(3, "v9"), *versions, current).delete == ()


def test_a_deployment_that_is_being_deleted_only_keeps_its_status() -> None:
    going = deployment(meta={"deletionTimestamp": "2026-01-02T03:04:05Z"})
    changes = step(going, replica_set("v1", 1))
    assert (changes.create, changes.patch, changes.delete) == (None, (), ())


def _conditions(changes: Changes) -> dict[str, tuple[str, str]]:
    assert changes.status is not None
    return {one.type: (one.status, one.reason) for one in changes.status.conditions or ()}


def _with_status(given: Deployment, changes: Changes) -> Deployment:
    return msgspec.structs.replace(given, status=changes.status or given.status)


def test_the_conditions_of_a_rollout_from_beginning_to_end() -> None:
    given = deployment(3)
    changes = step(given)
    assert _conditions(changes) == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "NewReplicaSetCreated"),
    }
    given = _with_status(given, changes)
    changes = step(given, replica_set("v1", 3, 1))
    assert _conditions(changes)["Progressing"] == ("True", "ReplicaSetUpdated")
    given = _with_status(given, changes)
    changes = step(given, replica_set("v1", 3, 3))
    assert _conditions(changes) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    given = _with_status(given, changes)
    assert (given.status.updated_replicas, given.status.available_replicas, given.status.unavailable_replicas) == (
        3,
        3,
        0,
    )
    assert step(given, replica_set("v1", 3, 3)).status is None
    changes = step(given, replica_set("v1", 3, 1))
    assert _conditions(changes)["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_a_rollout_without_progress_is_said_to_be_stuck() -> None:
    given = deployment(3, progressDeadlineSeconds=60)
    given = _with_status(given, step(given))
    waiting = step(given, replica_set("v1", 3, 0, pods=3))
    given = _with_status(given, waiting)
    assert waiting.again_in == pytest.approx(60)
    changes = step(given, replica_set("v1", 3, 0), now=NOW + 61)
    assert _conditions(changes)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    given = _with_status(given, changes)
    assert step(given, replica_set("v1", 3, 0), now=NOW + 100).status is None


def test_a_rollback_long_after_a_rollout_is_progress_and_not_stuck() -> None:
    given = deployment(3, "v2")
    given = _with_status(given, step(given, replica_set("v2", 3)))
    back = msgspec.structs.replace(given, spec=deployment(3, "v1").spec)
    changes = step(back, replica_set("v1", 0), replica_set("v2", 3, revision=2), now=NOW + 5000)
    assert _conditions(changes)["Progressing"] == ("True", "ReplicaSetUpdated")


def test_pausing_is_a_condition() -> None:
    assert _conditions(step(deployment(paused=True)))["Progressing"] == ("Unknown", "DeploymentPaused")


def test_the_new_replica_set_is_known_by_its_template() -> None:
    assert find_new(deployment(3, "v2"), [replica_set("v1", 3)]) is None
    assert find_new(deployment(3, "v1"), [replica_set("v1", 3)]) is not None


def sized(one: ReplicaSet, desired: int, most: int) -> ReplicaSet:
    """A ReplicaSet that notes for which size of its Deployment it was made."""
    notes = {
        "deployment.kubernetes.io/desired-replicas": str(desired),
        "deployment.kubernetes.io/max-replicas": str(most),
    }
    annotations = {**(one.metadata.annotations or {}), **notes}
    return msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, annotations=annotations))


@pytest.mark.parametrize(
    "replicas, old, new, expected",
    [
        (15, 8, 5, {"uid-v1": 11, "uid-v2": 7}),
        (5, 8, 5, {"uid-v1": 5, "uid-v2": 3}),
        (20, 10, 3, {"uid-v1": 18, "uid-v2": 5}),
        (0, 8, 5, {"uid-v1": 0, "uid-v2": 0}),
        (10, 8, 5, {}),
    ],
    ids=["up", "down", "the largest gets what rounding leaves", "to nothing", "the same"],
)
def test_a_scale_in_the_middle_of_a_rollout_goes_to_all_in_proportion(
    replicas: int, old: int, new: int, expected: dict[str, int]
) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    sets = [sized(replica_set("v1", old), 10, 13), sized(replica_set("v2", new, 0, revision=2), 10, 13)]
    changes = step(deployment(replicas, "v2", strategy=strategy), *sets)
    assert scales(changes) == expected
    if expected:
        assert sum(expected.values()) == (replicas + 3 if replicas else 0)
        notes = {one.metadata.uid: patch["metadata"]["annotations"] for one, patch in changes.patch}
        assert all(
            note["deployment.kubernetes.io/desired-replicas"] == str(replicas)
            and note["deployment.kubernetes.io/max-replicas"] == str(replicas + 3)
            for note in notes.values()
        )


def test_a_paused_rollout_is_scaled_in_proportion_too() -> None:
    sets = [sized(replica_set("v1", 6), 8, 10), sized(replica_set("v2", 4, revision=2), 8, 10)]
    assert scales(step(deployment(16, "v2", paused=True), *sets)) == {"uid-v1": 12, "uid-v2": 8}


def test_a_scale_goes_before_a_new_version() -> None:
    changes = step(deployment(6, "v2"), sized(replica_set("v1", 3), 3, 4))
    assert changes.create is None
    assert scales(changes) == {"uid-v1": 6}
