"""Every storage implementation, so that one set of tests holds for all."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairway.apiserver.storage.contract import Storage
from fairway.apiserver.storage.etcd import EtcdStorage
from fairway.apiserver.storage.etcd_address import EtcdAddress
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage
from tests.etcd_members import etcd_members


@pytest.fixture(scope="session")
def etcd_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An etcd with one member, for all tests: each has its own prefix."""
    with etcd_members(tmp_path_factory.mktemp("etcd")) as [member]:
        member.wait_until_ready()
        yield member.url


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "etcd":
        # Asked for here, so that the other storages need no etcd.
        url = request.getfixturevalue("etcd_url")
        remote = await EtcdStorage.open(EtcdAddress(endpoints=(url,), prefix=f"/{uuid.uuid4().hex}"))
        yield remote
        await remote.aclose()
    else:
        local: Storage = MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "state.db")
        yield local
        local.close()
