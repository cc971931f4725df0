"""Nothing is held twice and nothing leaks, whoever writes at the same time and wherever a server dies.

The book is the storage itself: in every revision the keys of addresses and ports are exactly what the Services of that
revision hold, except for addresses at rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.allocation import Ranges, ServiceAllocator, claims_of
from fairway.apiserver.claims import ADDRESSES, OLD_ADDRESSES, PORTS, claims_in, held_by
from fairway.apiserver.kinds import standard_kinds
from fairway.apiserver.metadata import DeleteOptions
from fairway.apiserver.networks import NetworkKeeper, ensure_default
from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import Event, Storage, Transaction
from fairway.objects import resources
from fairway.objects.codec import Document, decode, encode
from fairway.objects.status import ApiError
from fairway.runtime.clock import SystemClock
from tests.etcd_members import etcd_members
from tests.laws.storages import Crash, Fragile, Reopen, close, etcd, memory, sqlite

# Room for fewer Services than are wanted, so that ranges run full and writers collide.
RANGES = Ranges.parse("10.96.0.0/27,fd00::/123", "30000-30039")
SERVICES = "/objects/services/"
WRITERS, STEPS = 64, 12


@pytest.fixture(scope="module")
def etcd_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An etcd with one member, for all laws: each has its own prefix."""
    with etcd_members(tmp_path_factory.mktemp("etcd")) as [member]:
        member.wait_until_ready()
        yield member.url


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    match request.param:
        case "memory":
            return memory()
        case "sqlite":
            return sqlite(tmp_path)
        case _:
            # Asked for here, so that the other storages need no etcd.
            return etcd(request.getfixturevalue("etcd_url"))


async def server(storage: Storage, seed: int = 1, reuse_after: float = 0.0) -> Registry:
    draw = random.Random(seed)
    kinds = standard_kinds(ServiceAllocator(RANGES, draw.randrange))
    registry = Registry(storage, kinds, SystemClock(), draw, reuse_after=reuse_after)
    await registry.open()
    await ensure_default(registry, RANGES)
    namespaces = kinds[resources.NAMESPACES]
    if await registry.find(namespaces, "", "x") is None:
        await registry.create(namespaces, "", {"metadata": {"name": "x"}})
    return registry


def service(name: str, **spec: Any) -> Document:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}


DUAL = {"ipFamilyPolicy": "RequireDualStack"}
LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


def check(state: dict[str, bytes]) -> None:
    """One revision: keys and values of the whole storage."""
    held = Counter(
        claim for key, value in state.items() if key.startswith(SERVICES) for claim in claims_of(decode(value, dict))
    )
    assert set(held.values()) <= {1}, held
    kept = {
        key
        for key, value in state.items()
        if key.startswith(PORTS) or (key.startswith(ADDRESSES) and held_by(decode(value, dict)))
    }
    assert claims_in(kept) == set(held)


async def state_of(storage: Storage) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in (await storage.list("/")).entries}


def check_networks(state: dict[str, bytes]) -> None:
    """Every address that is held lies in a ServiceCIDR that is there."""
    networks = [
        ip_network(cidr)
        for key, value in state.items()
        if key.startswith("/objects/servicecidrs")
        for cidr in decode(value, dict)["spec"]["cidrs"]
    ]
    for key, value in state.items():
        if key.startswith(ADDRESSES) and held_by(decode(value, dict)):
            address = ip_address(key.removeprefix(ADDRESSES))
            assert any(address in network for network in networks), (address, networks)


async def check_history(storage: Storage, since: int, *, networks: bool = False) -> int:
    """Every revision after ``since``; gives how many there were."""
    state = {one.key: one.value for one in (await storage.list("/", revision=since)).entries}
    watch = await storage.watch("/", after=since)
    events: list[Event] = []
    while watch.progress < storage.revision:
        events += await watch.next()
    watch.close()
    for position, event in enumerate(events):
        if event.entry is None:
            del state[event.key]
        else:
            state[event.key] = event.entry.value
        if position + 1 == len(events) or events[position + 1].revision != event.revision:
            check(state)
            if networks:
                check_networks(state)
    return len({event.revision for event in events})


async def write(registry: Registry, number: int, refused: Counter[str], network: str = "10.96.0") -> None:
    """One client: it makes, changes and deletes Services, some of which others do too."""
    draw = random.Random(number)
    kind = registry.kinds[resources.SERVICES]
    specs: list[dict[str, Any]] = [
        {},
        DUAL,
        {"type": "NodePort"},
        LOCAL,
        {"clusterIP": f"{network}.{draw.randrange(1, 31)}"},
        {"type": "ExternalName", "externalName": "a.example"},
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": draw.randrange(30000, 30040)}]},
    ]
    for _ in range(STEPS):
        name, spec = f"s{draw.randrange(40)}", draw.choice(specs)
        try:
            match draw.randrange(5):
                case 0 | 1:
                    await registry.create(kind, "x", service(name, **spec))
                case 2 | 3:
                    await registry.update(kind, "x", name, _with_spec(service(name, **spec)["spec"]))
                case 4:
                    await registry.delete(kind, "x", name, DeleteOptions())
        except ApiError as error:
            refused[error.reason] += 1


def _with_spec(spec: Document) -> Callable[[Document], Document]:
    return lambda old: {**old, "spec": spec}


@pytest.mark.parametrize("reuse_after", [0.0, 3600.0], ids=["reuse-at-once", "rest"])
@pytest.mark.reference("5.5 unique", "5.5 repair", "5.6 blind")
async def test_64_writers_on_two_servers_never_hold_anything_twice(reopen: Reopen, reuse_after: float) -> None:
    storage = await reopen(None)
    servers = [await server(Fragile(storage), seed, reuse_after) for seed in (1, 2)]
    since = storage.revision
    refused: Counter[str] = Counter()
    await asyncio.gather(*(write(servers[number % 2], number, refused) for number in range(WRITERS)))
    assert await check_history(storage, since) > WRITERS
    assert set(refused) <= {"AlreadyExists", "NotFound", "Invalid", "InternalError", "Conflict"}
    check(await state_of(storage))
    for registry in servers[:1]:
        kind = registry.kinds[resources.SERVICES]
        for entry in (await storage.list(SERVICES)).entries:
            await registry.delete(kind, "x", entry.key.rpartition("/")[2], DeleteOptions())
    left = await state_of(storage)
    assert [key for key in left if key.startswith(PORTS)] == []
    assert [key for key, value in left.items() if key.startswith(ADDRESSES) and held_by(decode(value, dict))] == []
    await close(storage)


EXTRA = "10.97.0.0/27"


@pytest.mark.reference("5.5 cidr deletion")
async def test_a_network_never_goes_from_under_an_address(reopen: Reopen) -> None:
    """A ServiceCIDR comes and goes while two servers, each with its keeper, give away addresses of it."""
    storage = await reopen(None)
    servers = [await server(Fragile(storage), seed) for seed in (1, 2)]
    since = storage.revision
    keepers = [asyncio.create_task(NetworkKeeper(one, RANGES, SystemClock()).run()) for one in servers]
    writers = asyncio.gather(*(write(servers[number % 2], number, Counter(), "10.97.0") for number in range(WRITERS)))
    kind = servers[0].kinds[resources.SERVICE_CIDRS]
    for turn in range(20):
        registry = servers[turn % 2]
        with contextlib.suppress(ApiError):  # It may have gone by itself in between.
            if await registry.find(kind, "", "extra") is None:
                await registry.create(kind, "", {"metadata": {"name": "extra"}, "spec": {"cidrs": [EXTRA]}})
            else:
                await registry.delete(kind, "", "extra", DeleteOptions())
        for _ in range(50):
            await asyncio.sleep(0)
    await writers
    for keeper in keepers:
        keeper.cancel()
    await asyncio.gather(*keepers, return_exceptions=True)
    assert await check_history(storage, since, networks=True) > WRITERS
    await close(storage)


Operation = Callable[[Registry], Awaitable[Any]]


def _create(**spec: Any) -> Operation:
    return lambda registry: registry.create(registry.kinds[resources.SERVICES], "x", service("new", **spec))


def _update(**spec: Any) -> Operation:
    return lambda registry: registry.update(
        registry.kinds[resources.SERVICES], "x", "old", lambda old: {**old, "spec": service("old", **spec)["spec"]}
    )


def _delete(registry: Registry) -> Awaitable[Any]:
    return registry.delete(registry.kinds[resources.SERVICES], "x", "old", DeleteOptions())


OPERATIONS: dict[str, Operation] = {
    "create": _create(),
    "create dual stack with node ports": _create(**DUAL, **LOCAL),
    "become a load balancer": _update(**LOCAL, **DUAL),
    "give up the second family": _update(ipFamilyPolicy="SingleStack"),
    "become a name": _update(type="ExternalName", externalName="a.example"),
    "delete": _delete,
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("reuse_after", [0.0, 3600.0], ids=["reuse-at-once", "rest"])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.reference("5.5 repair", "5.3 rollback")
async def test_a_server_that_dies_at_any_call_leaves_all_or_nothing(
    reopen: Reopen, name: str, reuse_after: float, after: bool
) -> None:
    storage = await reopen(None)
    deadly = 0
    while True:
        deadly += 1
        registry = await server(storage, deadly, reuse_after)
        await _fresh(registry)
        since = storage.revision
        fragile = Fragile(storage)
        dying = await server(fragile, deadly, reuse_after)
        fragile.arm(deadly, after=after)
        try:
            await OPERATIONS[name](dying)
            break
        except Crash:
            await check_history_if_any(storage, since)
            storage = await reopen(storage)
    assert deadly > 2
    assert fragile.calls < deadly
    check(await state_of(storage))
    await close(storage)


async def check_history_if_any(storage: Storage, since: int) -> None:
    if storage.revision > since:
        await check_history(storage, since)
    check(await state_of(storage))


async def _fresh(registry: Registry) -> None:
    """The Service ``old``, with two addresses and three ports, and none called ``new``."""
    kind = registry.kinds[resources.SERVICES]
    for name in ("old", "new"):
        if await registry.find(kind, "x", name) is not None:
            await registry.delete(kind, "x", name, DeleteOptions())
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    await registry.create(kind, "x", service("old", ports=ports, type="NodePort", **DUAL))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_data_directory_of_the_first_version_is_moved_wherever_the_server_dies(
    reopen: Reopen, after: bool
) -> None:
    storage = await reopen(None)
    registry = await server(storage)
    kind = registry.kinds[resources.SERVICES]
    for number in range(5):
        await registry.create(kind, "x", service(f"s{number}", **DUAL))
    before = await _as_in_the_first_version(storage)
    deadly = 0
    while True:
        deadly += 1
        try:
            await server(Fragile(storage, deadly=deadly, after=after))
            break
        except Crash:
            storage = await reopen(storage)
    state = await state_of(storage)
    check(state)
    assert not [key for key in state if key.startswith(OLD_ADDRESSES)]
    assert {key for key in state if key.startswith(ADDRESSES)} == before
    await close(storage)


async def _as_in_the_first_version(storage: Storage) -> set[str]:
    """Write addresses the way the first version did, with one that leaked; gives the keys they should get back."""
    state = await state_of(storage)
    keys = {key for key in state if key.startswith(ADDRESSES)}
    puts = {f"{OLD_ADDRESSES}10.96.0.30": encode({"kind": "Service", "namespace": "x", "name": "gone", "uid": "u"})}
    for key in keys:
        parent = decode(state[key], dict)["spec"]["parentRef"]
        owner = {"kind": "Service", "namespace": parent["namespace"], "name": parent["name"], "uid": "u"}
        puts[OLD_ADDRESSES + key.removeprefix(ADDRESSES)] = encode(owner)
    networks = {key for key in state if key.startswith("/objects/servicecidrs")}
    await storage.transact(Transaction(puts=puts, deletes=frozenset(keys | networks)))
    return keys
