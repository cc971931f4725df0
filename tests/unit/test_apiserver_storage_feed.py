"""Unit tests of `fairway.apiserver.storage.feed`: who is told what, with whom, and when."""

from __future__ import annotations

import asyncio

import pytest

from fairway.apiserver.storage.contract import Entry, Event, WatchClosed
from fairway.apiserver.storage.feed import MAXIMUM_LAG, FedWatch, Feed


def change(revision: int, key: str = "/a/1") -> Event:
    return Event(key, revision, Entry(key, b"x", revision, revision), None)


def publish(feed: Feed, *revisions: int) -> None:
    for revision in revisions:
        feed.publish(revision, [change(revision)])


async def test_readers_at_the_same_place_get_the_same_tuple() -> None:
    feed = Feed(1)
    one, other = feed.open("/a/", ()), feed.open("/a/", ())
    publish(feed, 2, 3)
    events = await one.next()
    assert [event.revision for event in events] == [2, 3]
    assert await other.next() is events


async def test_a_reader_that_begins_later_is_not_told_what_was_before() -> None:
    feed = Feed(1)
    first = feed.open("/a/", ())
    publish(feed, 2)
    later = feed.open("/a/", [change(2)])
    publish(feed, 3)
    assert [event.revision for event in await later.next()] == [2, 3]
    assert [event.revision for event in await first.next()] == [2, 3]
    assert first.progress == later.progress == 3


async def test_what_comes_while_many_are_told_is_told_together() -> None:
    feed = Feed(1)
    watches = [feed.open("/a/", ()) for _ in range(200)]
    told: list[list[int]] = [[] for _ in watches]
    done = asyncio.Event()

    async def read(watch: FedWatch, heard: list[int]) -> None:
        while not heard or heard[-1] < 30:
            heard.append(max(event.revision for event in await watch.next()))
        done.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for watch, heard in zip(watches, told, strict=True):
            group.create_task(read(watch, heard))
        revision = 1
        # All of them wait, and then there is a change in every turn of the loop.
        while not done.is_set() and revision < 30:
            await asyncio.sleep(0)
            revision += 1
            publish(feed, revision)
        await done.wait()
    assert all(heard == sorted(set(heard)) and heard[-1] == 30 for heard in told)
    assert all(len(heard) < 15 for heard in told)


async def test_a_reader_gets_what_it_missed_in_parts() -> None:
    feed = Feed(1)
    watch = feed.open("/a/", ())
    publish(feed, *range(2, 102))
    told: list[int] = []
    while watch.progress < feed.revision:
        part = [event.revision for event in await watch.next()]
        assert len(part) <= 32
        told += part
    assert told == list(range(2, 102))


async def test_nothing_is_held_for_readers_that_have_gone() -> None:
    feed = Feed(1)
    watch = feed.open("/a/", ())
    publish(feed, 2)
    watch.close()
    assert not feed._chains
    with pytest.raises(WatchClosed):
        await watch.next()


async def test_a_slow_reader_is_dropped_without_being_asked() -> None:
    feed = Feed(1)
    slow, quick = feed.open("/a/", ()), feed.open("/a/", ())
    for start in range(2, 2 * MAXIMUM_LAG, 1_000):
        publish(feed, *range(start, start + 1_000))
        while quick.progress < feed.revision:
            await quick.next()
    assert feed._chains["/a/"].watches == {quick}
    with pytest.raises(WatchClosed) as caught:
        await slow.next()
    assert caught.value.slow


async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    feed = Feed(1)
    watch = feed.open("/a/", ())
    waiting = asyncio.ensure_future(watch.next())
    while not feed._chains["/a/"].waiting:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not feed._chains["/a/"].waiting
    publish(feed, 2)
    assert [event.revision for event in await watch.next()] == [2]
