"""Unit tests of `fairway.client.informer`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.client.informer import OVERDUE_SECONDS, Informer
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import SERVICES
from fairway.runtime.clock import FakeClock
from fairway.runtime.retry import Backoff, Patience
from tests.unit.scripted_server import ScriptedServer, failure, service, service_list

A, B = Key("shop", "a"), Key("shop", "b")


class Follower:
    """An informer that runs against a scripted server, and what it told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = ScriptedServer()
        self.told: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        patience = Patience(Backoff(first=1, most=4, jitter=0), self.clock)
        client = Client(AsgiTransport(self.server))
        self.informer = Informer(client, SERVICES, on_change=self._note, namespace="shop", patience=patience)

    def _note(self, key: Key, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        versions = [one.metadata.resource_version if one else "" for one in (old, new)]
        self.told.put_nowait((key.name, versions[0], versions[1]))

    async def list(self, *answer: Any) -> None:
        """Answer the list that must come next."""
        exchange = await self.server.next("GET /api/v1/namespaces/shop/services")
        assert "watch" not in exchange.query
        await exchange.answer(*answer)

    async def watch(self, revision: str) -> Any:
        """The watch that must come next, begun."""
        exchange = await self.server.next("GET /api/v1/namespaces/shop/services")
        assert (exchange.query["watch"], exchange.query["resourceVersion"]) == ("true", revision)
        await exchange.begin()
        return exchange


@asynccontextmanager
async def following(silence: float = 0.0, lasting: float = OVERDUE_SECONDS) -> AsyncIterator[Follower]:
    """With ``silence`` it asks for a stream first; a watch may be ``lasting`` so long."""
    follower = Follower()
    follower.informer.lasting(lasting)
    if silence:
        follower.informer.stream(silence)
    task = asyncio.create_task(follower.informer.run())
    try:
        async with asyncio.timeout(30):
            yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_it_lists_then_watches_from_the_lists_revision() -> None:
    async with following() as it:
        await it.list(service_list(5, service("a", 3)))
        watch = await it.watch("5")
        await it.informer.synced()
        await watch.event("ADDED", service("b", 6))
        assert [await it.told.get(), await it.told.get()] == [("a", "", "3"), ("b", "", "6")]
        assert set(it.informer.cache) == {A, B}


@pytest.mark.parametrize("silence", [0.0, 5.0], ids=["a list", "a stream"])
async def test_a_pause_comes_when_all_of_what_came_together_was_told(silence: float) -> None:
    async with following(silence) as it:
        it.informer.pausing(lambda: it.told.put_nowait(("pause", "", "")))
        if silence:
            watch = await streamed(it)
            await watch.begin()
            await watch.event("BOOKMARK", END)
        else:
            await it.list(service_list(5))
            watch = await it.watch("5")
        documents = [{"type": "ADDED", "object": service(name, version)} for name, version in (("a", 31), ("b", 32))]
        await watch.write(b"".join(msgspec.json.encode(one) + b"\n" for one in documents))
        first = "pause"
        while first == "pause":  # of what came before
            first = (await it.told.get())[0]
        assert [first, (await it.told.get())[0], (await it.told.get())[0]] == ["a", "b", "pause"]


async def test_a_watch_that_breaks_off_goes_on_from_the_revision_reached() -> None:
    async with following() as it:
        await it.list(service_list(5))
        watch = await it.watch("5")
        await watch.event("ADDED", service("a", 6))
        await watch.event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        watch.break_off()
        assert await it.clock.sleeper() == pytest.approx(1)
        it.clock.advance(1)
        await (await it.watch("9")).event("DELETED", service("a", 10))
        assert [await it.told.get(), await it.told.get()] == [("a", "", "6"), ("a", "10", "")]
        assert not it.informer.cache


async def test_a_watch_that_ends_is_taken_up_at_once() -> None:
    async with following() as it:
        await it.list(service_list(5))
        watch = await it.watch("5")
        await watch.event("ADDED", service("a", 6))
        await watch.end()
        await it.watch("6")


async def test_a_watch_that_ends_without_a_word_is_not_asked_for_in_a_circle() -> None:
    async with following() as it:
        await it.list(service_list(5))
        await (await it.watch("5")).end()
        assert await it.clock.sleeper() == pytest.approx(1)
        it.clock.advance(1)
        await it.watch("5")


@pytest.mark.parametrize("silence", [0.0, 5.0])
async def test_a_watch_that_the_server_never_ends_is_given_up(silence: float) -> None:
    async with following(silence, lasting=0.01) as it:
        if silence:
            watch = await streamed(it)
            await watch.begin()
            await watch.event("ADDED", service("a", 3))
            await watch.event("BOOKMARK", END)
        else:
            await it.list(service_list(5, service("a", 3)))
            watch = await it.watch("5")
        await it.informer.synced()
        await it.server.hung_up.wait()
        if not silence:
            it.clock.advance(await it.clock.sleeper())
        await it.watch("5")


async def test_an_expired_revision_makes_it_list_and_tell_the_differences() -> None:
    async with following() as it:
        await it.list(service_list(5, service("a", 3), service("b", 4)))
        watch = await it.watch("5")
        await watch.event("ERROR", failure(410, "Expired"))
        assert await it.clock.sleeper() == pytest.approx(1)
        assert set(it.informer.cache) == {A, B}
        it.clock.advance(1)
        await it.list(service_list(30, service("a", 20)))
        await it.watch("30")
        told = [await it.told.get() for _ in range(4)]
        assert told == [("a", "", "3"), ("b", "", "4"), ("b", "4", ""), ("a", "3", "20")]


async def test_while_the_server_is_away_the_cache_stays_and_the_log_is_short(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fairway")
    async with following() as it:
        await it.list(service_list(5, service("a", 3)))
        watch = await it.watch("5")
        watch.break_off()
        for wait in (1, 2, 4, 4):
            assert await it.clock.sleeper() == pytest.approx(wait)
            assert set(it.informer.cache) == {A}
            it.clock.advance(wait)
            (await it.watch("5")).break_off()
        assert await it.clock.sleeper() == pytest.approx(4)
        it.clock.advance(4)
        await (await it.watch("5")).event("ADDED", service("b", 6))
        await it.told.get()
        await it.told.get()
    messages = [record.message for record in caplog.records]
    assert messages == [
        "cannot reach the API server at this process: the answer broke off; retrying",
        "the API server at this process answers again",
    ]


async def test_a_watch_that_lasts_tells_that_the_server_is_back_even_if_nothing_happens() -> None:
    class Listening(Client):
        """A client that lets the test wait for what it is told."""

        back = asyncio.Event()

        def note_back(self) -> None:
            super().note_back()
            self.back.set()

    server = ScriptedServer()
    client = Listening(AsgiTransport(server))
    task = asyncio.create_task(Informer(client, SERVICES).run())
    async with asyncio.timeout(30):
        await (await server.next("GET /api/v1/services")).answer(service_list(5))
        watch = await server.next("GET /api/v1/services")
        client.back.clear()
        await watch.begin()
        await client.back.wait()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("silence", [0.0, 5.0], ids=["lists", "streams"])
async def test_a_server_that_does_not_know_the_field_by_which_to_save_is_asked_for_all(
    silence: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fairway")
    server = ScriptedServer()
    informer = Informer(Client(AsgiTransport(server)), SERVICES, field_selector="spec.type=NodePort")
    informer.saving("spec.clusterIP!=None")
    task = asyncio.create_task((informer.stream(silence) if silence else informer).run())
    async with asyncio.timeout(30):
        first = await server.next("GET /api/v1/services")
        assert first.query["fieldSelector"] == "spec.type=NodePort,spec.clusterIP!=None"
        await first.answer(failure(400, "BadRequest"), 400)
        again = await server.next("GET /api/v1/services")
        assert again.query["fieldSelector"] == "spec.type=NodePort"
        # What else was asked for stays: a list, or a stream.
        assert again.query.get("sendInitialEvents", "") == first.query.get("sendInitialEvents", "")
    task.cancel()
    await asyncio.wait([task])
    assert [record.message for record in caplog.records] == ["services: it is BadRequest; asking for all of them"]


async def test_a_server_that_refuses_is_named_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fairway")
    async with following() as it:
        for wait in (1, 2):
            await it.list(failure(403, "Forbidden"), 403)
            assert await it.clock.sleeper() == pytest.approx(wait)
            it.clock.advance(wait)
            await it.informer.answered()
        await it.list(service_list(5))
        await it.informer.synced()
    messages = [record.message for record in caplog.records]
    assert messages == ["services: it is Forbidden; retrying", "services: following the API server again"]


async def test_a_listener_that_fails_ends_the_informer_loudly() -> None:
    def refuse(*_: object) -> None:
        raise KeyError("a bug")

    server = ScriptedServer()
    informer = Informer(Client(AsgiTransport(server)), SERVICES, on_change=refuse)
    task = asyncio.create_task(informer.run())
    await (await server.next("GET /api/v1/services")).answer(service_list(5, service("a", 3)))
    with pytest.raises(KeyError, match="a bug"):
        await task


async def test_it_can_read_less_than_the_whole_class() -> None:
    class Slim(KubernetesObject):
        """Only the metadata."""

    server = ScriptedServer()
    informer = Informer(Client(AsgiTransport(server)), SERVICES.read_as(Slim))
    task = asyncio.create_task(informer.run())
    await (await server.next("GET /api/v1/services")).answer(service_list(5, service("a", 3, ports="unread")))
    await informer.synced()
    assert type(informer.cache[A]) is Slim
    task.cancel()
    await asyncio.wait([task])


END = {"metadata": {"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}}


async def streamed(it: Follower) -> Any:
    """The watch that begins with everything, begun."""
    exchange = await it.server.next("GET /api/v1/namespaces/shop/services")
    asked = {name: exchange.query.get(name) for name in ("watch", "sendInitialEvents", "resourceVersionMatch")}
    assert asked == {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    assert "resourceVersion" not in exchange.query
    return exchange


async def test_one_watch_brings_everything_there_is_and_then_what_happens() -> None:
    async with following(silence=5) as it:
        watch = await streamed(it)
        await watch.begin()
        for name in "ab":
            await watch.event("ADDED", service(name, 3))
        await watch.event("DELETED", service("b", 4))
        assert it.told.empty()
        await watch.event("BOOKMARK", END)
        await it.informer.synced()
        assert it.informer.resource_version == "5"
        await watch.event("MODIFIED", service("a", 6))
        assert [await it.told.get(), await it.told.get()] == [("a", "", "3"), ("a", "3", "6")]
        await watch.end()
        await it.watch("6")


async def test_an_expired_revision_is_streamed_again_and_only_the_differences_are_told() -> None:
    async with following(silence=5) as it:
        watch = await streamed(it)
        await watch.begin()
        await watch.event("ADDED", service("a", 3))
        await watch.event("ADDED", service("b", 3))
        await watch.event("BOOKMARK", END)
        await watch.event("ERROR", failure(410, "Expired"))
        it.clock.advance(await it.clock.sleeper())
        again = await streamed(it)
        await again.begin()
        await again.event("ADDED", service("a", 3))
        await again.event("BOOKMARK", END)
        assert [await it.told.get() for _ in range(3)] == [("a", "", "3"), ("b", "", "3"), ("b", "3", "")]


@pytest.mark.parametrize("code", [400, 422, 500])
async def test_a_server_that_does_not_stream_is_asked_for_a_list(code: int) -> None:
    async with following(silence=5) as it:
        await (await streamed(it)).answer(failure(code, "Invalid"), code)
        await it.list(service_list(5, service("a", 3)))
        watch = await it.watch("5")
        await watch.event("ERROR", failure(410, "Expired"))
        it.clock.advance(await it.clock.sleeper())
        await it.list(service_list(9))


async def test_a_server_that_never_says_that_this_was_everything_is_asked_for_a_list() -> None:
    async with following(silence=0.01) as it:
        watch = await streamed(it)
        await watch.begin()
        await watch.event("ADDED", service("a", 3))
        await it.server.hung_up.wait()
        await it.list(service_list(5, service("a", 3)))
        await it.informer.synced()


async def test_a_stream_that_breaks_off_before_the_end_counts_for_nothing() -> None:
    async with following(silence=5) as it:
        watch = await streamed(it)
        await watch.begin()
        await watch.event("ADDED", service("a", 3))
        watch.break_off()
        it.clock.advance(await it.clock.sleeper())
        assert not it.informer.cache
        await streamed(it)
