"""What is claimed is known in the order in which it happened, whoever did it and whenever we are told."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.claims import PORTS, Claims, claim_key
from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.contract import Conflict, Entry, Event, Transaction
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage
from fairway.objects import resources
from fairway.runtime.clock import SystemClock

OWNER: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "cart"}}
CLAIMS = ["ip/10.96.0.7", "ip/fd00::7", "port/30080"]


def taken(claim: str, revision: int) -> Event:
    key = claim_key(claim)
    return Event(key, revision, Entry(key, b"{}", revision, revision), None)


def given_up(claim: str, revision: int) -> Event:
    key = claim_key(claim)
    return Event(key, revision, None, Entry(key, b"{}", revision - 1, revision - 1))


@pytest.fixture
def claims() -> Claims:
    return Claims(MemoryStorage(), SystemClock(), lambda: str(uuid.uuid4()))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_known_before_its_change_comes(claims: Claims, claim: str) -> None:
    claims.committed(OWNER, [claim], [], 5)
    assert claim in claims.ledger
    claims.follow(taken(claim, 5))
    assert claim in claims.ledger


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_another_server_has_undone_stays_undone(claims: Claims, claim: str) -> None:
    claims.follow(taken(claim, 5))
    claims.follow(given_up(claim, 6))
    claims.committed(OWNER, [claim], [], 5)
    assert claim not in claims.ledger


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_another_server_took_after_us_stays_taken(claims: Claims, claim: str) -> None:
    claims.follow(given_up(claim, 6))
    claims.follow(taken(claim, 7))
    claims.committed(OWNER, [], [claim], 6)
    assert claim in claims.ledger


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_conflict_tells_nothing_that_is_over(claims: Claims, claim: str) -> None:
    there = taken(claim, 5)
    claims.follow(there)
    claims.follow(given_up(claim, 6))
    claims.lost(Conflict(there.key, there.entry))
    assert claim not in claims.ledger
    claims.lost(Conflict(there.key, taken(claim, 7).entry))
    assert claim in claims.ledger


async def test_a_list_begins_anew() -> None:
    storage = MemoryStorage()
    claims = Claims(storage, SystemClock(), lambda: str(uuid.uuid4()))
    revision = await storage.transact(Transaction(puts={claim_key("port/30080"): b"{}"}))
    claims.follow(taken("port/30099", revision))
    assert await claims.load(PORTS) == revision
    assert "port/30080" in claims.ledger
    assert "port/30099" not in claims.ledger


async def test_many_at_once_get_the_first_addresses_there_are_each_its_own(tmp_path: Path) -> None:
    """They are committed together, so none of them has written anything when the next one chooses."""
    with contextlib.closing(SqliteStorage(tmp_path / "db")) as storage:
        settings = Settings(data_directory=tmp_path, cluster_ip_allocation="sequential")
        registry = (await create_app(storage, settings)).registry
        services = registry.kinds[resources.SERVICES]
        documents = ({"metadata": {"name": f"s{number}"}, "spec": {"ports": [{"port": 80}]}} for number in range(150))
        made = await asyncio.gather(*(registry.create(services, "default", one) for one in documents))
        taken = sorted(int(ip_address(one.document()["spec"]["clusterIP"])) for one in made)
        assert taken == list(range(taken[0], taken[0] + 150))
