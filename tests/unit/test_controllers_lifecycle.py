"""Unit tests of `fairway.controllers.lifecycle`, `watchman` and `heartbeat`: nodes that fall silent and come back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.controllers.heartbeat import NAMESPACE, Heartbeat
from fairway.controllers.lifecycle import judge, pod_condition
from fairway.controllers.runner import Options
from fairway.objects.cluster import Node, Pod
from fairway.objects.codec import view
from fairway.objects.resources import LEASES, NODES, PODS
from fairway.runtime.clock import FakeClock
from tests.unit.cluster_parts import node, pod
from tests.unit.controllers_world import World, settle, world

NOW = 1_767_323_045.0
TAINTS = [("node.kubernetes.io/unreachable", "NoSchedule"), ("node.kubernetes.io/unreachable", "NoExecute")]


def said(status: str, reason: str = "", **spec: Any) -> Node:
    made = node("n1", **spec)
    condition = {"type": "Ready", "status": status, "reason": reason}
    return view({**msgspec.to_builtins(made), "status": {"conditions": [condition]}}, Node)


@pytest.mark.reference("6.5 node lifecycle")
def test_a_silent_node_is_unknown_and_tainted() -> None:
    changes = judge(said("True"), silent=True, now=NOW)
    assert changes.condition is not None
    assert (changes.condition["status"], changes.condition["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert [(taint["key"], taint["effect"]) for taint in changes.taints or ()] == TAINTS
    assert all(taint["timeAdded"] == "2026-01-02T03:04:05Z" for taint in changes.taints or ())


@pytest.mark.reference("6.5 node lifecycle")
def test_a_node_that_renews_again_is_ready_and_loses_our_taints_only() -> None:
    other = {"key": "team", "value": "a", "effect": "NoSchedule"}
    ours = [{"key": key, "effect": effect} for key, effect in TAINTS]
    changes = judge(said("Unknown", "NodeStatusUnknown", taints=[other, *ours]), silent=False, now=NOW)
    assert changes.condition is not None
    assert changes.condition["status"] == "True"
    assert changes.taints == [other]


def test_a_node_that_says_that_it_is_not_ready_keeps_its_word() -> None:
    for silent in (True, False):
        changes = judge(said("False", "DiskFull"), silent=silent, now=NOW)
        assert changes.condition is None
        assert {taint["key"] for taint in changes.taints or ()} == {"node.kubernetes.io/not-ready"}


def test_a_node_that_is_well_needs_nothing() -> None:
    assert judge(said("True"), silent=False, now=NOW) == judge(said("True"), silent=False, now=NOW + 1)
    assert judge(said("True"), silent=False, now=NOW).condition is None
    assert judge(said("True"), silent=False, now=NOW).taints is None


def test_only_what_we_took_from_a_pod_is_given_back() -> None:
    lost = pod_condition(pod("p", "10.0.0.1"), silent=True, now=NOW)
    assert lost is not None
    assert (lost["status"], lost["reason"]) == ("False", "NodeUnreachable")
    taken = pod("p", "10.0.0.1", status={"conditions": [lost]})
    back = pod_condition(taken, silent=False, now=NOW)
    assert back is not None
    assert back["status"] == "True"
    unready = pod("p", "10.0.0.1", ready=False)
    assert pod_condition(unready, silent=False, now=NOW) is None
    assert pod_condition(unready, silent=True, now=NOW) is None


async def answering_web(it: World) -> None:
    await it.nodes("n1", "n2")
    await it.deploy("web", 2)
    await it.expose("web")
    await it.answering(await it.pods(2))
    await it.endpoints("web", 2)


async def pass_seconds(clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1.0)
        await settle()


def is_ready(nodes: list[Node], name: str) -> bool:
    return next(one for one in nodes if one.metadata.name == name).ready


@pytest.mark.reference("6.5 node lifecycle")
async def test_a_silent_nodes_endpoints_leave_and_come_back_with_its_lease(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path, Options(node_grace=10), clock) as it:
        await answering_web(it)
        beats = {name: Heartbeat(it.client, [name], interval=2, clock=clock) for name in ("n1", "n2")}
        running = {name: asyncio.create_task(beat.run()) for name, beat in beats.items()}
        await pass_seconds(clock, 30)
        assert all(one.ready for one in (await it.client.list(NODES)).items)
        running["n2"].cancel()
        # The last beat was up to two seconds before.
        await pass_seconds(clock, 7)
        assert is_ready((await it.client.list(NODES)).items, "n2")
        await pass_seconds(clock, 4)
        nodes = await it.until(NODES, lambda nodes: not is_ready(nodes, "n2"))
        lost = next(one for one in nodes if one.metadata.name == "n2")
        assert [(taint.key, taint.effect) for taint in lost.spec.taints or ()] == TAINTS
        assert is_ready(nodes, "n1")
        left = await it.until_endpoints("web", lambda all_: [e.node_name for e in all_ if e.ready] == ["n1"])
        assert [(e.node_name, e.serving) for e in left if not e.ready] == [("n2", False)]
        running["n2"] = asyncio.create_task(beats["n2"].run())
        await pass_seconds(clock, 3)
        await it.until(NODES, lambda nodes: is_ready(nodes, "n2"))
        await it.endpoints("web", 2)
        assert not next(one for one in (await it.client.list(NODES)).items if one.metadata.name == "n2").spec.taints
        for task in running.values():
            task.cancel()


async def test_a_node_that_never_had_a_lease_is_left_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path, Options(node_grace=5), clock) as it:
        await answering_web(it)
        await pass_seconds(clock, 60)
        assert all(one.ready for one in (await it.client.list(NODES)).items)


async def test_time_in_which_the_server_was_away_does_not_count(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path, Options(node_grace=8), clock) as it:
        await answering_web(it)
        beat = Heartbeat(it.client, ["n1"], interval=2, clock=clock)
        await beat.beat("n1")
        await pass_seconds(clock, 1)
        it.door.shut()
        await pass_seconds(clock, 12)
        it.door.reopen()
        await pass_seconds(clock, 4)
        assert all(one.ready for one in (await it.client.list(NODES)).items)
        await pass_seconds(clock, 9)
        await it.until(NODES, lambda nodes: not is_ready(nodes, "n1"))


async def test_a_lease_belongs_to_its_node_and_goes_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        beat = Heartbeat(it.client, ["n1"])
        await beat.beat("n1")
        await beat.beat("n1")
        lease = await it.client.get(LEASES, "n1", NAMESPACE)
        assert lease.spec.holder_identity == "n1"
        assert [owner.kind for owner in lease.metadata.owner_references or ()] == ["Node"]
        await it.client.delete(NODES, "n1")
        await it.until(LEASES, lambda leases: not leases)


async def test_a_heartbeat_outlives_a_server_that_is_away_and_a_node_that_is_not_there(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path) as it:
        client = Client(AsgiTransport(it.door))
        task = asyncio.create_task(Heartbeat(client, ["n1"], clock=clock).run())
        await settle()
        it.door.shut()
        await pass_seconds(clock, 10)
        it.door.reopen()
        await it.nodes("n1")
        await pass_seconds(clock, 10)
        assert (await it.client.get(LEASES, "n1", NAMESPACE)).spec.renew_time
        task.cancel()


async def test_a_pod_that_the_agent_has_spoken_for_is_not_made_ready_by_us(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path, Options(node_grace=5), clock) as it:
        await it.nodes("n1")
        await it.deploy("web", 1)
        (running,) = await it.pods(1)
        await it.answering([running])
        await Heartbeat(it.client, ["n1"], clock=clock).beat("n1")
        await pass_seconds(clock, 12)

        def taken(pods: list[Pod]) -> bool:
            return any(one.reason == "NodeUnreachable" for pod in pods for one in pod.status.conditions or ())

        await it.until(PODS, taken)
        said = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Probe"}]}}
        await it.client.patch_status(PODS, running.metadata.name, said, "default", kind="strategic")
        await Heartbeat(it.client, ["n1"], clock=clock).beat("n1")
        await it.until(NODES, lambda nodes: is_ready(nodes, "n1"))
        await settle()
        assert not (await it.client.get(PODS, running.metadata.name, "default")).ready
