"""Copying between storages, whichever they are; and the command that does it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from fairway.apiserver.storage.contract import Compacted, Storage, StorageError, Transaction
from fairway.apiserver.storage.copy import copy_storage
from fairway.apiserver.storage.memory import MemoryStorage


async def filled(count: int = 250) -> MemoryStorage:
    storage = MemoryStorage()
    for number in range(count):
        await storage.transact(Transaction(puts={f"/objects/things/{number:03}": b"%d" % number * 20}))
    # Four of these do not fit into one transaction of etcd's.
    for number in range(8):
        await storage.transact(Transaction(puts={f"/objects/large/{number}": bytes(400_000)}))
    return storage


async def content(storage: Storage) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in (await storage.list("/")).entries}


async def test_everything_arrives_and_comes_back(storage: Storage) -> None:
    source, back = await filled(), MemoryStorage()
    assert await copy_storage(source, storage) == 258
    assert await copy_storage(storage, back) == 258
    assert await content(back) == await content(storage) == await content(source)


async def test_a_version_of_the_source_is_no_version_of_the_copy(storage: Storage) -> None:
    before = storage.revision
    await copy_storage(await filled(3), storage)
    with pytest.raises(Compacted):
        await storage.watch("/", after=before)


async def test_a_target_with_keys_is_kept_unless_forced(storage: Storage) -> None:
    await storage.transact(Transaction(puts={f"/mine/{number}": b"x" for number in range(90)}))
    await storage.transact(Transaction(puts={f"/mine/{number}": b"x" for number in range(90, 120)}))
    with pytest.raises(StorageError, match="the target has 120 keys; --force deletes them first"):
        await copy_storage(await filled(3), storage)
    assert len(await content(storage)) == 120
    await copy_storage(await filled(3), storage, force=True)
    assert len(await content(storage)) == 11


def fairway(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "fairway.cli.main", "storage", "copy", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def prefix() -> str:
    return f"--etcd-prefix=/{uuid.uuid4().hex}"


async def test_the_command_copies_to_etcd_and_back(tmp_path: Path, etcd_url: str, prefix: str) -> None:
    from fairway.apiserver.storage.sqlite import SqliteStorage

    first, second = tmp_path / "first.db", tmp_path / "second.db"
    with closing(SqliteStorage(first)) as opened:
        await copy_storage(await filled(20), opened)
    there = fairway(f"sqlite:{first}", f"etcd:{etcd_url}", prefix)
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout == f"copied 28 keys from sqlite:{first} to etcd:{etcd_url}; both are equal\n"
    back = fairway(f"etcd:{etcd_url}", f"sqlite:{second}", prefix)
    assert (back.returncode, back.stderr) == (0, "")
    query = "SELECT key, value FROM versions WHERE superseded IS NULL ORDER BY key"
    with closing(sqlite3.connect(first)) as one, closing(sqlite3.connect(second)) as other:
        assert one.execute(query).fetchall() == other.execute(query).fetchall()
    again = fairway(f"sqlite:{first}", f"etcd:{etcd_url}", prefix)
    assert again.returncode == 1
    assert again.stderr == "fairway: error: the target has 28 keys; --force deletes them first\n"
    assert fairway(f"sqlite:{first}", f"etcd:{etcd_url}", prefix, "--force").returncode == 0


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("sqlite:no.db", "etcd:http://127.0.0.1:1"), 1, "no.db: no such file"),
        (("memory", "sqlite:x.db"), 2, "'memory' is no storage; expected sqlite:PATH or etcd:URL"),
        (("etcd:", "sqlite:x.db"), 2, "'etcd:' is no storage"),
        (("etcd:127.0.0.1:1", "sqlite:x.db"), 2, "'127.0.0.1:1' is not an etcd endpoint"),
        (("sqlite:x.db", "sqlite:x.db"), 2, "source and target are the same"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    ended = fairway(*arguments)
    assert ended.returncode == code
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
