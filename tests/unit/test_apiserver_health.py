"""Unit tests of `fairway.apiserver.health`: what the server says of itself, and of its storage."""

from __future__ import annotations

import asyncio

import pytest

from fairway.apiserver.health import Health
from fairway.apiserver.requests import Request
from fairway.apiserver.storage.contract import Entry, StorageError
from fairway.apiserver.storage.memory import MemoryStorage
from tests.unit.api_calls import Calls, start


class Broken(MemoryStorage):
    """A storage that cannot be asked."""

    async def get(self, key: str) -> Entry | None:
        raise StorageError("no member of the etcd at https://10.0.0.1:2379 answers")


class Silent(MemoryStorage):
    """A storage that never answers, for as long as anybody waits."""

    async def get(self, key: str) -> Entry | None:
        raise TimeoutError


async def ask(health: Health, path: str, query: str = "") -> tuple[int, str]:
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    response = await health.answer(Request(scope, asyncio.Queue().get), path)
    assert isinstance(response.body, bytes)
    return response.status, response.body.decode()


@pytest.fixture
async def calls() -> Calls:
    return await start()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/readyz/", "/readyz/ping", "/readyz/sqlite"])
async def test_all_is_well(calls: Calls, path: str) -> None:
    answer = await calls("GET", path)
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_verbose_lists_the_checks(calls: Calls) -> None:
    assert (await calls("GET", "/readyz?verbose")).body.decode() == (
        "[+]ping ok\n[+]sqlite ok\n[+]shutdown ok\nreadyz check passed\n"
    )
    assert (await calls("GET", "/livez?verbose=true")).body.decode() == "[+]ping ok\nlivez check passed\n"


@pytest.mark.parametrize("storage", [Broken(), Silent()], ids=["broken", "silent"])
async def test_a_server_without_its_storage_lives_and_is_not_ready(storage: MemoryStorage) -> None:
    health = Health(storage, "etcd")
    assert await ask(health, "/livez") == (200, "ok")
    failed = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n"
    assert await ask(health, "/readyz") == (500, failed)
    assert (await ask(health, "/healthz"))[0] == 500
    assert (await ask(health, "/readyz/etcd"))[0] == 500
    assert await ask(health, "/readyz", "verbose&exclude=etcd") == (
        200,
        "[+]ping ok\n[+]etcd excluded: ok\n[+]shutdown ok\nreadyz check passed\n",
    )


async def test_why_a_check_has_failed_is_in_the_log_and_not_told_to_strangers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = (await ask(Health(Broken(), "etcd"), "/readyz", "verbose"))[1]
    assert "10.0.0.1" not in told
    assert "https://10.0.0.1:2379" in caplog.text


async def test_a_server_that_stops_is_not_ready_any_more(calls: Calls) -> None:
    calls.app.stop()
    answer = await calls("GET", "/readyz")
    assert answer.status == 500
    assert b"[-]shutdown failed" in answer.body
    assert (await calls("GET", "/livez")).status == 200


async def test_what_there_is_not_cannot_be_asked_or_left_out(calls: Calls) -> None:
    assert (await calls("GET", "/readyz/moon")).status == 404
    assert (await calls("POST", "/readyz")).status == 405
    answer = await calls("GET", "/readyz?verbose&exclude=moon")
    assert 'warn: some health checks cannot be excluded: no matches for "moon"\n' in answer.body.decode()
