"""etcd when things go wrong: lost answers, late requests, members that die, several servers, compactions by others."""

from __future__ import annotations

import asyncio
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fairway.apiserver.certificates import Authority
from fairway.apiserver.storage.contract import (
    Compacted,
    Conflict,
    Event,
    StorageError,
    Transaction,
    Watch,
    WatchClosed,
)
from fairway.apiserver.storage.etcd import EtcdStorage
from fairway.apiserver.storage.etcd_address import EtcdAddress
from fairway.apiserver.storage.etcd_client import EtcdClient, Unanswered
from fairway.apiserver.storage.etcd_messages import RANGE, TXN, put, range_request, txn_request, watch_request
from tests.contract.tcp_relay import Relay
from tests.etcd_members import Member, etcd_members


@asynccontextmanager
async def opened(*urls: str, prefix: str, patience: float = 20.0) -> AsyncIterator[EtcdStorage]:
    storage = await EtcdStorage.open(EtcdAddress(endpoints=urls, prefix=prefix), patience=patience)
    try:
        yield storage
    finally:
        await storage.aclose()


@pytest.fixture
def prefix() -> str:
    return f"/{uuid.uuid4().hex}"


@pytest.fixture
async def relay(etcd_url: str) -> AsyncIterator[Relay]:
    async with Relay(urlsplit(etcd_url).port or 0) as relay:
        yield relay


@pytest.fixture
async def far(relay: Relay, etcd_url: str, prefix: str) -> AsyncIterator[EtcdStorage]:
    """Reaches etcd through the relay, and directly once that fails."""
    async with opened(relay.url, etcd_url, prefix=prefix) as storage:
        yield storage


@pytest.fixture
async def near(far: EtcdStorage, etcd_url: str, prefix: str) -> AsyncIterator[EtcdStorage]:
    """Another server on the same etcd, which nothing disturbs."""
    async with opened(etcd_url, prefix=prefix) as storage:
        yield storage


async def put_value(storage: EtcdStorage, key: str, value: bytes = b"x") -> int:
    return await storage.transact(Transaction(puts={key: value}))


async def events_until(watch: Watch, key: str) -> list[Event]:
    """The changes up to the one of ``key``."""
    found: list[Event] = []
    async with asyncio.timeout(60):
        while not any(event.key == key for event in found):
            found += await watch.next()
    return found


CREATE = Transaction(expect={"/a": 0}, puts={"/a": b"mine"})


async def test_a_write_whose_answer_is_lost_happened_once(relay: Relay, far: EtcdStorage, near: EtcdStorage) -> None:
    watch = await near.watch("/", after=near.revision)
    relay.hold_replies()
    writing = asyncio.ensure_future(far.transact(CREATE))
    await events_until(watch, "/a")
    relay.hang_up()
    revision = await writing
    entry = await near.get("/a")
    assert entry is not None
    assert (entry.revision, entry.created) == (revision, revision)
    await put_value(near, "/end")
    assert [event.key for event in await events_until(watch, "/end")] == ["/end"]


async def test_a_write_that_never_arrived_is_sent_again(relay: Relay, far: EtcdStorage, near: EtcdStorage) -> None:
    watch = await near.watch("/", after=near.revision)
    relay.hold_requests()
    writing = asyncio.ensure_future(far.transact(CREATE))
    await relay.holding(b"mine")
    relay.hang_up()
    revision = await writing
    assert [(event.key, event.revision) for event in await events_until(watch, "/a")] == [("/a", revision)]


async def test_a_write_that_arrives_late_is_refused(relay: Relay, far: EtcdStorage, near: EtcdStorage) -> None:
    relay.hold_requests()
    # Nothing is expected of the key: only the fence can keep the late one from overwriting what came after it.
    writing = asyncio.ensure_future(put_value(far, "/a", b"mine"))
    await relay.holding(b"mine")
    relay.hang_up()
    await writing
    newest = await put_value(near, "/a", b"newer")
    relay.release()
    async with relay.said_more:
        # Only the answer to a refused transaction tells where the fence is.
        await asyncio.wait_for(relay.said_more.wait_for(lambda: b"/writers/" in relay.said), 30)
    entry = await near.get("/a")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"newer", newest)


async def test_a_write_that_lost_its_answer_and_its_race_is_a_conflict(
    relay: Relay, far: EtcdStorage, near: EtcdStorage
) -> None:
    relay.hold_requests()
    writing = asyncio.ensure_future(far.transact(CREATE))
    await relay.holding(b"mine")
    await put_value(near, "/a", b"theirs")
    relay.hang_up()
    with pytest.raises(Conflict) as caught:
        await writing
    assert caught.value.entry is not None
    assert caught.value.entry.value == b"theirs"


async def test_writes_go_on_after_the_fence_has_moved(relay: Relay, far: EtcdStorage, near: EtcdStorage) -> None:
    relay.hold_requests()
    writing = [asyncio.ensure_future(put_value(far, f"/many/{number}")) for number in range(20)]
    await relay.holding(b"/many/")
    relay.hang_up()
    revisions = await asyncio.gather(*writing)
    await put_value(far, "/many/later")
    listing = await near.list("/many/")
    assert sorted(entry.revision for entry in listing.entries)[:-1] == sorted(revisions)
    assert len(listing.entries) == 21


async def test_what_one_server_wrote_the_next_reads_at_once(far: EtcdStorage, near: EtcdStorage) -> None:
    for number in range(50):
        writer, reader = (far, near) if number % 2 else (near, far)
        revision = await put_value(writer, "/a", str(number).encode())
        entry = await reader.get("/a")
        assert entry is not None
        assert (entry.value, entry.revision) == (str(number).encode(), revision)


async def test_the_revision_of_another_server_is_not_the_future(far: EtcdStorage, near: EtcdStorage) -> None:
    revision = await put_value(near, "/a")
    watch = await far.watch("/", after=revision)
    assert watch.progress >= revision
    listing = await far.list("/", revision=await put_value(near, "/b"))
    assert [entry.key for entry in listing.entries] == ["/a", "/b"]


async def test_a_watch_survives_its_connection(relay: Relay, far: EtcdStorage, near: EtcdStorage) -> None:
    watch = await far.watch("/a/", after=far.revision)
    for number in range(30):
        if number % 10 == 5:
            relay.hang_up()
        await put_value(near, f"/a/{number}")
    seen = await events_until(watch, "/a/29")
    assert [event.key for event in seen] == [f"/a/{number}" for number in range(30)]


async def test_a_watch_that_missed_a_compaction_has_to_begin_again(relay: Relay, etcd_url: str, prefix: str) -> None:
    async with opened(relay.url, prefix=prefix) as far, opened(etcd_url, prefix=prefix) as near:
        watch = await far.watch("/", after=await put_value(far, "/gone"))
        await relay.cut()
        await near.transact(Transaction(deletes=frozenset(["/gone"])))
        await near.compact(await put_value(near, "/new"))
        await relay.join()
        with pytest.raises(WatchClosed) as caught:
            await asyncio.wait_for(watch.next(), 60)
        assert caught.value.slow
        assert [entry.key for entry in (await far.list("/")).entries] == ["/new"]
        assert far.revision == near.revision


async def test_a_server_that_came_later_knows_the_past(far: EtcdStorage, etcd_url: str, prefix: str) -> None:
    first = await put_value(far, "/a/1", b"1")
    then = await put_value(far, "/a/2")
    await put_value(far, "/a/1", b"2")
    await put_value(far, "/b")
    await far.transact(Transaction(deletes=frozenset(["/a/1"])))
    async with opened(etcd_url, prefix=prefix) as later:
        watch = await later.watch("/a/", after=first)
        await put_value(later, "/a/3")
        told = [
            (event.key, event.entry and event.entry.value, event.previous and event.previous.value)
            for event in await events_until(watch, "/a/3")
        ]
        assert told == [("/a/2", b"x", None), ("/a/1", b"2", b"1"), ("/a/1", None, b"2"), ("/a/3", b"x", None)]
        page = await later.list("/a/", revision=then, limit=1)
        assert [(entry.key, entry.value) for entry in page.entries] == [("/a/1", b"1")]
        assert page.remaining == 1
        rest = await later.list("/a/", revision=then, after="/a/1", limit=1)
        assert ([entry.key for entry in rest.entries], rest.remaining) == (["/a/2"], 0)


async def test_a_compaction_by_another_server_is_told(far: EtcdStorage, etcd_url: str, prefix: str) -> None:
    old = await put_value(far, "/a", b"1")
    kept = await put_value(far, "/a", b"2")
    await put_value(far, "/a", b"3")
    async with opened(etcd_url, prefix=prefix) as later:
        await far.compact(kept)
        with pytest.raises(Compacted) as caught:
            await later.watch("/", after=old)
        assert caught.value.oldest == kept
        with pytest.raises(Compacted):
            await later.list("/", revision=old)
        await later.compact(kept)  # which has been done
        assert later.compacted == kept


async def test_an_etcd_that_was_set_back_is_read_again(tmp_path: Path) -> None:
    with etcd_members(tmp_path) as [member]:
        async with opened(member.url, prefix="/x") as storage:
            await put_value(storage, "/a")
            watch = await storage.watch("/", after=await put_value(storage, "/b"))
            member.kill()
            shutil.rmtree(tmp_path / "m0")
            member.start()
            assert await storage.get("/a") is None
            with pytest.raises(WatchClosed) as caught:
                await watch.next()
            assert caught.value.slow
            await put_value(storage, "/c")
            assert [entry.key for entry in (await storage.list("/")).entries] == ["/c"]


class Worker:
    """Counts to ``goal`` in a key of its own, one transaction a step, and makes a key at each step."""

    def __init__(self, storage: EtcdStorage, name: str, goal: int) -> None:
        self.storage, self.name, self.goal = storage, name, goal
        self.half = asyncio.Event()

    async def run(self) -> None:
        revision = 0
        for number in range(self.goal):
            # A write done twice, or done although it was reported to have failed, is a conflict with itself.
            revision = await self.storage.transact(
                Transaction(
                    expect={f"/counter/{self.name}": revision, f"/made/{self.name}/{number:03}": 0},
                    puts={
                        f"/counter/{self.name}": str(number + 1).encode(),
                        f"/made/{self.name}/{number:03}": b"",
                    },
                )
            )
            if number == self.goal // 4:
                self.half.set()


@pytest.mark.parametrize("loss", [Member.kill, Member.freeze], ids=["killed", "frozen"])
async def test_a_member_lost_under_load_costs_no_write(tmp_path: Path, loss: Callable[[Member], None]) -> None:
    with etcd_members(tmp_path, 3) as members:
        urls = [member.url for member in members]
        async with AsyncExitStack() as stack:
            # Two servers whose first choice is the member that will be lost, and one that knows it as its second.
            orders = (urls, urls, [urls[1], urls[0], urls[2]])
            servers = [await stack.enter_async_context(opened(*order, prefix="/x", patience=40)) for order in orders]
            watch = await servers[2].watch("/made/", after=servers[2].revision)
            workers = [Worker(servers[number % 3], str(number), 60) for number in range(12)]
            running = asyncio.gather(*(worker.run() for worker in workers))
            await asyncio.wait_for(workers[0].half.wait(), 60)
            loss(members[0])
            await asyncio.wait_for(running, 90)
            for server in servers:
                counters = (await server.list("/counter/")).entries
                assert {entry.value for entry in counters} == {b"60"}
                assert len((await server.list("/made/")).entries) == 12 * 60
            await put_value(servers[0], "/made/zzz")
            told = [event.key for event in await events_until(watch, "/made/zzz")]
            assert len(told) == len(set(told)) == 12 * 60 + 1


async def test_a_watch_on_a_member_that_accepts_and_says_nothing_goes_elsewhere_with_the_calls(etcd_url: str) -> None:
    """A frozen member's kernel takes connections, too; a watch that is only just connecting must not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        frozen.setblocking(False)
        url = f"http://127.0.0.1:{frozen.getsockname()[1]}"
        client = EtcdClient(EtcdAddress(endpoints=(url, etcd_url)), patience=0.1)
        watch = watch_request(b"/nobody/a", b"/nobody/b", start=1)
        watching = asyncio.ensure_future(anext(client.watch(watch)))
        accepted, _ = await asyncio.get_running_loop().sock_accept(frozen)
        with accepted:
            with pytest.raises(Unanswered):
                await client.call(RANGE, range_request(b"/nobody/a"))
            with pytest.raises(Unanswered, match="a call to the same member was not answered"):
                await asyncio.wait_for(watching, 30)
        async with aclosing(client.watch(watch)) as replies:
            assert (await asyncio.wait_for(anext(replies), 30)).created
        await client.close()


async def test_other_peoples_keys_neither_disturb_nor_count(far: EtcdStorage, etcd_url: str) -> None:
    client = EtcdClient(EtcdAddress(endpoints=(etcd_url,)))
    revision = await put_value(far, "/a")
    await client.call(TXN, txn_request([], [put(b"/somebody/else", b"x")]))
    assert (await far.list("/")).revision == revision
    await client.close()


async def test_a_prefix_with_other_data_is_refused(etcd_url: str, prefix: str) -> None:
    client = EtcdClient(EtcdAddress(endpoints=(etcd_url,)))
    await client.call(TXN, txn_request([], [put(f"{prefix}/clock".encode(), b"tick tock")]))
    await client.close()
    with pytest.raises(StorageError, match="other data below its prefix: its clock says b'tick tock'"):
        await EtcdStorage.open(EtcdAddress(endpoints=(etcd_url,), prefix=prefix))


async def test_an_etcd_that_is_not_there_is_named() -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(StorageError, match=f"etcd does not answer at {url}: unavailable"):
        await EtcdStorage.open(EtcdAddress(endpoints=(url,)), patience=0.3)


async def test_an_etcd_that_stays_silent_leaves_the_outcome_open_and_says_so(relay: Relay, prefix: str) -> None:
    async with opened(relay.url, prefix=prefix, patience=0.5) as storage:
        await relay.cut()
        with pytest.raises(StorageError, match="whether the change was made is not known"):
            await put_value(storage, "/a")
        with pytest.raises(StorageError, match="does not answer"):
            await storage.get("/a")


async def test_a_transaction_that_is_too_large_is_refused_with_advice(far: EtcdStorage) -> None:
    with pytest.raises(StorageError, match="--max-txn-ops"):
        await far.transact(Transaction(puts={f"/{number}": b"" for number in range(200)}))
    with pytest.raises(StorageError, match="--max-request-bytes"):
        await put_value(far, "/large", bytes(2_000_000))


async def test_tls_with_a_client_certificate(tmp_path: Path, prefix: str) -> None:
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.server(["127.0.0.1"])
    client = authority.client("fairway")
    own, own_key = tmp_path / "client.crt", tmp_path / "client.key"
    own.write_bytes(client.certificate)
    own_key.write_bytes(client.key)
    flags = (f"--cert-file={certificate}", f"--key-file={key}", "--client-cert-auth")
    trusted = f"--trusted-ca-file={authority.certificate_path}"
    with etcd_members(tmp_path / "etcd", 1, *flags, trusted, scheme="https") as [member]:
        known = EtcdAddress(
            endpoints=(member.url,), authority=authority.certificate_path, certificate=own, key=own_key, prefix=prefix
        )
        storage = await EtcdStorage.open(known)
        await put_value(storage, "/a", b"secret")
        entry = await storage.get("/a")
        assert entry is not None
        assert entry.value == b"secret"
        await storage.aclose()
        stranger = EtcdAddress(endpoints=(member.url,), authority=authority.certificate_path)
        with pytest.raises(StorageError, match="does not answer"):
            await EtcdStorage.open(stranger, patience=0.5)
        doubter = EtcdAddress(endpoints=(member.url,), certificate=own, key=own_key)
        with pytest.raises(StorageError, match="does not answer"):
            await EtcdStorage.open(doubter, patience=0.5)


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    address = EtcdAddress(endpoints=("https://127.0.0.1:1",), authority=tmp_path / "no.crt")
    with pytest.raises(StorageError, match=r"cannot read .*no\.crt for etcd: No such file"):
        await EtcdStorage.open(address)
