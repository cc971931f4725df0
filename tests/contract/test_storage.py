"""What every storage promises (`fairway.apiserver.storage.contract`)."""

from __future__ import annotations

import asyncio

import pytest

from fairway.apiserver.storage.contract import (
    Compacted,
    Conflict,
    FutureRevision,
    Storage,
    Transaction,
    WatchClosed,
)


async def put(storage: Storage, key: str, value: bytes = b"x") -> int:
    return await storage.transact(Transaction(puts={key: value}))


async def delete(storage: Storage, *keys: str) -> int:
    return await storage.transact(Transaction(deletes=frozenset(keys)))


async def keys(storage: Storage, prefix: str, revision: int = 0) -> list[str]:
    return [entry.key for entry in (await storage.list(prefix, revision=revision)).entries]


async def test_an_empty_storage_has_a_revision(storage: Storage) -> None:
    assert storage.revision >= 1
    assert await storage.get("/a") is None
    assert (await storage.list("/")).entries == ()


async def test_a_value_comes_back_with_the_revisions_that_wrote_it(storage: Storage) -> None:
    first = await put(storage, "/a", b"1")
    second = await put(storage, "/a", b"2")
    entry = await storage.get("/a")
    assert entry is not None
    assert (entry.value, entry.created, entry.revision) == (b"2", first, second)


async def test_a_key_made_again_is_created_again(storage: Storage) -> None:
    await put(storage, "/a")
    await delete(storage, "/a")
    again = await put(storage, "/a")
    entry = await storage.get("/a")
    assert entry is not None
    assert entry.created == again


async def test_a_transaction_has_one_revision(storage: Storage) -> None:
    before = await put(storage, "/gone")
    revision = await storage.transact(Transaction(puts={"/a": b"1", "/b": b"2"}, deletes=frozenset(["/gone"])))
    assert revision == before + 1
    assert [entry.revision for entry in (await storage.list("/")).entries] == [revision, revision]


async def test_a_refused_transaction_changes_nothing(storage: Storage) -> None:
    revision = await put(storage, "/a", b"1")
    with pytest.raises(Conflict) as caught:
        await storage.transact(Transaction(expect={"/new": 0, "/a": revision - 1}, puts={"/new": b"", "/a": b"2"}))
    assert caught.value.key == "/a"
    assert caught.value.entry is not None
    assert caught.value.entry.value == b"1"
    assert storage.revision == revision
    assert await keys(storage, "/") == ["/a"]


async def test_a_key_that_must_be_absent_can_be_claimed_once(storage: Storage) -> None:
    claim = Transaction(expect={"/claim": 0}, puts={"/claim": b"mine"})
    await storage.transact(claim)
    with pytest.raises(Conflict):
        await storage.transact(claim)


async def test_deleting_what_is_not_there_is_no_change(storage: Storage) -> None:
    revision = storage.revision
    assert await delete(storage, "/nothing") == revision


async def test_a_prefix_means_the_keys_below_it(storage: Storage) -> None:
    for key in ("/a/1", "/a/2", "/a/2/x", "/ab/1", "/b"):
        await put(storage, key)
    assert await keys(storage, "/a/") == ["/a/1", "/a/2", "/a/2/x"]
    assert await keys(storage, "/a/2/") == ["/a/2/x"]


async def test_a_list_comes_in_pages(storage: Storage) -> None:
    for number in range(5):
        await put(storage, f"/a/{number}")
    page = await storage.list("/a/", limit=2)
    assert [entry.key for entry in page.entries] == ["/a/0", "/a/1"]
    assert page.remaining == 3
    rest = await storage.list("/a/", after="/a/1", limit=3)
    assert [entry.key for entry in rest.entries] == ["/a/2", "/a/3", "/a/4"]
    assert rest.remaining == 0


async def test_a_page_of_the_past_does_not_see_the_present(storage: Storage) -> None:
    await put(storage, "/a/1", b"old")
    then = await put(storage, "/a/2")
    await put(storage, "/a/1", b"new")
    await put(storage, "/a/3")
    await delete(storage, "/a/2")
    listing = await storage.list("/a/", revision=then)
    assert [(entry.key, entry.value) for entry in listing.entries] == [("/a/1", b"old"), ("/a/2", b"x")]
    assert listing.revision == then
    assert await keys(storage, "/a/") == ["/a/1", "/a/3"]


async def test_a_watch_replays_the_past_and_follows_the_present(storage: Storage) -> None:
    start = await put(storage, "/a/1", b"1")
    await put(storage, "/a/1", b"2")
    await put(storage, "/b/1")
    watch = await storage.watch("/a/", after=start)
    [changed] = await watch.next()
    assert changed.entry is not None
    assert changed.previous is not None
    assert (changed.entry.value, changed.previous.value) == (b"2", b"1")
    gone = await delete(storage, "/a/1")
    [deleted] = await watch.next()
    assert (deleted.key, deleted.revision, deleted.entry) == ("/a/1", gone, None)
    assert deleted.previous is not None
    assert deleted.previous.value == b"2"


async def test_a_waiting_watch_is_woken_by_a_change(storage: Storage) -> None:
    watch = await storage.watch("/a/", after=storage.revision)
    waiting = asyncio.ensure_future(watch.next())
    await put(storage, "/b/other")
    await put(storage, "/a/1")
    [event] = await asyncio.wait_for(waiting, 30)
    assert event.key == "/a/1"


async def test_the_history_knows_what_a_deleted_key_was(storage: Storage) -> None:
    start = await put(storage, "/a/1", b"last words")
    await delete(storage, "/a/1")
    watch = await storage.watch("/a/", after=start)
    [event] = await watch.next()
    assert event.entry is None
    assert event.previous is not None
    assert event.previous.value == b"last words"


async def test_progress_follows_changes_elsewhere(storage: Storage) -> None:
    watch = await storage.watch("/a/", after=storage.revision)
    mine = await put(storage, "/a/1")
    newest = await put(storage, "/b/1")
    assert watch.progress == mine - 1
    await watch.next()
    assert watch.progress == newest


async def test_poke_lets_a_waiting_watch_return_empty(storage: Storage) -> None:
    watch = await storage.watch("/a/", after=storage.revision)
    waiting = asyncio.ensure_future(watch.next())
    while not waiting.done():
        watch.poke()
        await asyncio.wait([waiting], timeout=0.01)
    assert waiting.result() == ()


async def test_a_closed_watch_says_so_at_once(storage: Storage) -> None:
    watch = await storage.watch("/a/", after=storage.revision)
    waiting = asyncio.gather(watch.next(), return_exceptions=True)
    watch.close()
    [result] = await asyncio.wait_for(waiting, 30)
    assert isinstance(result, WatchClosed)
    assert not result.slow


async def test_a_reader_that_never_reads_is_dropped(storage: Storage) -> None:
    watch = await storage.watch("/a/", after=storage.revision)
    for start in range(0, 10_100, 100):
        await storage.transact(Transaction(puts={f"/a/{start + number}": b"" for number in range(100)}))
    with pytest.raises(WatchClosed) as caught:
        await watch.next()
    assert caught.value.slow


async def test_compaction_keeps_the_present_and_forgets_the_past(storage: Storage) -> None:
    old = await put(storage, "/a", b"1")
    kept = await put(storage, "/a", b"2")
    newest = await put(storage, "/a", b"3")
    await storage.compact(kept)
    assert storage.compacted == kept
    with pytest.raises(Compacted) as caught:
        await storage.watch("/", after=old)
    assert caught.value.oldest == kept
    with pytest.raises(Compacted):
        await storage.list("/", revision=old)
    [entry] = (await storage.list("/", revision=kept)).entries
    assert entry.value == b"2"
    [event] = await (await storage.watch("/", after=kept)).next()
    assert event.revision == newest
    assert event.previous is not None
    assert event.previous.value == b"2"


async def test_compaction_never_goes_back_or_ahead(storage: Storage) -> None:
    revision = await put(storage, "/a")
    await storage.compact(revision + 100)
    assert storage.compacted == revision
    await storage.compact(1)
    assert storage.compacted == revision
    assert await keys(storage, "/") == ["/a"]


async def test_an_open_watch_does_not_notice_a_compaction(storage: Storage) -> None:
    watch = await storage.watch("/", after=storage.revision)
    await put(storage, "/a")
    await storage.compact(storage.revision)
    [event] = await watch.next()
    assert event.key == "/a"


async def test_the_future_cannot_be_asked_for(storage: Storage) -> None:
    with pytest.raises(FutureRevision) as caught:
        await storage.watch("/", after=storage.revision + 1)
    assert caught.value.newest == storage.revision
    with pytest.raises(FutureRevision):
        await storage.list("/", revision=storage.revision + 1)


async def test_closing_the_storage_ends_every_watch(storage: Storage) -> None:
    watch = await storage.watch("/", after=storage.revision)
    storage.close()
    with pytest.raises(WatchClosed):
        await watch.next()
