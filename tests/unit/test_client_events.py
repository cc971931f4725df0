"""Unit tests of `fairway.client.events` and `recorder`: what is told, counted, combined and left out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.client.asgi import AsgiTransport
from fairway.client.events import Bucket, Correlator, Write, told
from fairway.client.http import Client
from fairway.client.recorder import Recorders
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import EVENTS, EVENTS_V1, NODES, PODS, Resource
from fairway.runtime.retry import Backoff, Patience
from tests.unit.cluster_parts import node, pod
from tests.unit.controllers_world import Door, settle, world

NOW = 1_767_323_045.0
SEEN: Resource[Any] = EVENTS


class Seen:
    """What a correlator let through."""

    def __init__(self) -> None:
        self.correlator = Correlator("tester")
        self.writes: list[Write] = []

    def tell(self, message: str, *, at: float = 0.0, about: KubernetesObject | None = None, reason: str = "R") -> None:
        write = self.correlator.decide(told(PODS, about or pod("p"), reason, message), NOW + at)
        if write is not None:
            self.writes.append(write)


def test_an_event_says_who_saw_what_on_which_object() -> None:
    seen = Seen()
    seen.tell("it runs")
    (write,) = seen.writes
    assert (write.namespace, write.name) == ("shop", "")
    assert write.document["involvedObject"] == {
        "kind": "Pod",
        "apiVersion": "v1",
        "namespace": "shop",
        "name": "p",
        "uid": "uid-p",
    }
    assert write.document["source"] == {"component": "tester"}
    assert (write.document["count"], write.document["firstTimestamp"]) == (1, "2026-01-02T03:04:05Z")


def test_what_was_said_before_is_counted() -> None:
    seen = Seen()
    for second in range(3):
        seen.tell("again", at=second)
    first, *others = seen.writes
    assert {write.name for write in others} == {first.document["metadata"]["name"]}
    assert others[-1].document == {"count": 3, "lastTimestamp": "2026-01-02T03:04:07Z", "message": "again"}
    assert others[-1].again["firstTimestamp"] == "2026-01-02T03:04:05Z"


def test_another_object_or_reason_is_another_event() -> None:
    seen = Seen()
    seen.tell("x")
    seen.tell("x", about=pod("q"))
    seen.tell("x", reason="S")
    assert [write.name for write in seen.writes] == ["", "", ""]
    assert len({write.document["metadata"]["name"] for write in seen.writes}) == 3


def test_many_similar_messages_become_one() -> None:
    seen = Seen()
    for number in range(15):
        seen.tell(f"message {number}")
    created = [write for write in seen.writes if not write.name]
    assert len(created) == 11
    assert created[-1].document["message"] == "(combined from similar events): message 10"
    assert seen.writes[-1].document["count"] == 5
    assert seen.writes[-1].document["message"] == "(combined from similar events): message 14"


def test_after_ten_quiet_minutes_messages_stand_alone_again() -> None:
    seen = Seen()
    for number in range(11):
        seen.tell(f"message {number}")
    seen.tell("later", at=601)
    assert seen.writes[-1].document["message"] == "later"


def test_about_one_object_no_more_than_25_at_once_and_then_one_in_five_minutes() -> None:
    seen = Seen()
    for _ in range(40):
        seen.tell("busy")
    assert len(seen.writes) == 25
    seen.tell("elsewhere", about=pod("q"))
    assert len(seen.writes) == 26
    seen.tell("busy", at=299)
    assert len(seen.writes) == 26
    seen.tell("busy", at=301)
    assert len(seen.writes) == 27


def test_events_about_what_has_no_namespace_are_in_the_default_one() -> None:
    write = Correlator("tester").decide(told(NODES, node("n1"), "R", "x"), NOW)
    assert write is not None
    assert write.namespace == "default"
    assert "namespace" not in write.document["involvedObject"]


async def test_the_recorder_writes_counts_and_survives_an_outage_and_an_expiry(tmp_path: Path) -> None:
    door = Door(await create_app(MemoryStorage(), Settings(data_directory=tmp_path, storage="memory")))
    client = Client(AsgiTransport(door))
    recorders = Recorders(client, Patience(Backoff(first=0.0, most=0.0)))
    recorder = recorders.of("tester")
    running = asyncio.create_task(recorders.run())
    about = node("n1")
    door.shut()
    recorder.record(NODES, about, "R", "x")
    recorder.record(NODES, about, "R", "x")
    await door.refused.wait()
    door.reopen()
    await settle()
    (event,) = (await client.list(EVENTS)).items
    assert (await client.get_document(EVENTS, event.metadata.name, "default"))["count"] == 2
    await client.delete(EVENTS, event.metadata.name, "default")
    recorder.record(NODES, about, "R", "x")
    await settle()
    assert (await client.get_document(EVENTS, event.metadata.name, "default"))["count"] == 3
    running.cancel()


async def test_what_the_controllers_do_can_be_read(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.deploy("web", 2)

        async def reasons(wanted: set[tuple[str, str]]) -> None:
            found: set[tuple[str, str]] = set()
            async for events in it.client.watch(EVENTS, "0"):
                for one in events:
                    document = await it.client.get_document(EVENTS, one.metadata.name, one.metadata.namespace)
                    found.add((document["reason"], document["source"]["component"]))
                if wanted <= found:
                    return

        await reasons(
            {
                ("ScalingReplicaSet", "deployment-controller"),
                ("SuccessfulCreate", "replicaset-controller"),
                ("FailedScheduling", "default-scheduler"),
            }
        )
        await it.nodes("n1")
        await reasons({("Scheduled", "default-scheduler")})


def test_an_event_of_an_instance_has_the_later_form_and_counts_in_a_series() -> None:
    correlator = Correlator("fairway-proxy", "fairway-proxy-node-1")
    saw = told(PODS, pod("p"), "NotServed", "why", "Warning", "Serve")
    first, again = correlator.decide(saw, NOW), correlator.decide(saw, NOW + 60)
    assert first is not None
    assert again is not None
    assert first.resource is again.resource is EVENTS_V1
    known = {"regarding", "note", "reason", "action", "type", "reportingController", "reportingInstance", "eventTime"}
    assert set(first.document) == known | {"metadata"}
    assert (first.document["note"], first.document["reportingInstance"]) == ("why", "fairway-proxy-node-1")
    assert again.document == {"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000000Z"}}
    assert again.again["eventTime"] == first.document["eventTime"]
    assert again.again["metadata"] == first.document["metadata"]


async def test_the_later_form_is_what_the_api_server_takes_and_a_budget_is_for_all(tmp_path: Path) -> None:
    door = Door(await create_app(MemoryStorage(), Settings(data_directory=tmp_path, storage="memory")))
    client = Client(AsgiTransport(door))
    recorders = Recorders(client, Patience(Backoff(first=0.0, most=0.0)), Bucket.full(2, 1e9, 0.0))
    recorder = recorders.of("fairway-proxy", "fairway-proxy-node-1")
    for name in ("a", "a", "b", "c"):
        recorder.record(NODES, node(name), "NotServed", "why", type_="Warning", action="Serve")
    running = asyncio.create_task(recorders.run())
    await settle()
    (event,) = (await client.list(EVENTS_V1)).items
    found = await client.get_document(EVENTS_V1, event.metadata.name, "default")
    assert (found["regarding"]["name"], found["series"]["count"]) == ("a", 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await client.close()
