"""Unit tests of `fairway.apiserver.access.audit`: what the log says of a write, what it never says, and its files."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairway.apiserver.access.audit import AuditFile, AuditLog, AuditLogError
from fairway.apiserver.access.users import User
from fairway.apiserver.server import Proofs, create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from tests.unit.api_calls import Calls, service

SERVICES = "/api/v1/namespaces/default/services"
ROOT, ANN = "token-of-root", "token-of-ann"
TOKENS = {ROOT: User("root", ("system:masters",)), ANN: User("ann", ("fairway:viewers",))}


@dataclass
class World:
    root: Calls
    path: Path
    writing: asyncio.Task[None]

    async def lines(self) -> list[dict[str, Any]]:
        """What is in the log when everything is written."""
        self.writing.cancel()
        with suppress(asyncio.CancelledError):
            await self.writing
        return [msgspec.json.decode(line) for line in self.path.read_bytes().splitlines()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "audit.log"
    log = AuditLog(AuditFile(str(path), 0))
    writing = asyncio.create_task(log.run())
    await asyncio.sleep(0)
    settings = Settings(data_directory=tmp_path, advertise_address="192.0.2.1")
    app = await create_app(MemoryStorage(), settings, proofs=Proofs(tokens=TOKENS), audit_log=log)
    made = World(Calls(app, authorization=f"Bearer {ROOT}"), path, writing)
    yield made
    await made.lines()


async def test_a_write_is_a_line_with_the_values_it_took_and_gave_back(world: World) -> None:
    fixed = service("web", type="NodePort", clusterIP="10.96.0.7", ports=[{"port": 80, "nodePort": 30080}])
    await world.root("POST", SERVICES, fixed)
    merge = "application/merge-patch+json"
    patch = {"spec": {"ports": [{"port": 80, "nodePort": 30081}]}}
    await world.root("PATCH", f"{SERVICES}/web", patch, content_type=merge)
    await world.root("DELETE", f"{SERVICES}/web")
    created, patched, deleted = await world.lines()
    assert created | {"time": "", "latencyMilliseconds": 0} == {
        "time": "",
        "user": "root",
        "groups": ["system:masters", "system:authenticated"],
        "source": "",
        "verb": "create",
        "group": "",
        "resource": "services",
        "namespace": "default",
        "name": "web",
        "dryRun": False,
        "code": 201,
        "latencyMilliseconds": 0,
        "after": {"clusterIPs": ["10.96.0.7"], "nodePorts": [30080]},
    }
    assert patched["before"]["nodePorts"] == [30080]
    assert patched["after"]["nodePorts"] == [30081]
    assert deleted["before"] == patched["after"]
    assert "after" not in deleted


async def test_a_refused_write_and_a_rehearsal_are_lines_too(world: World) -> None:
    await Calls(world.root.app, authorization=f"Bearer {ANN}")("DELETE", f"{SERVICES}/kubernetes")
    await world.root("POST", f"{SERVICES}?dryRun=All", service("web"))
    await world.root("POST", SERVICES, {"spec": 7})
    refused, rehearsed, wrong = await world.lines()
    assert (refused["user"], refused["verb"], refused["name"], refused["code"]) == ("ann", "delete", "kubernetes", 403)
    assert (rehearsed["dryRun"], rehearsed["code"]) == (True, 201)
    assert wrong["code"] == 400


async def test_reads_and_questions_are_not_written_down(world: World) -> None:
    await world.root("GET", SERVICES)
    await world.root("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert await world.lines() == []


async def test_several_objects_deleted_at_once_are_one_line(world: World) -> None:
    for name in ("a", "b"):
        await world.root("POST", SERVICES, service(name))
    await world.root("DELETE", f"{SERVICES}?fieldSelector=metadata.name%21%3Dkubernetes")
    *_, deleted = await world.lines()
    assert deleted["verb"] == "deletecollection"
    assert [one["name"] for one in deleted["objects"]] == ["a", "b"]
    assert all(one["before"]["clusterIPs"] for one in deleted["objects"])


async def test_no_secret_and_no_token_is_ever_in_it(world: World) -> None:
    secret = base64.b64encode(b"hunter2").decode()
    document = {"metadata": {"name": "s"}, "data": {"password": secret}}
    await world.root("POST", "/api/v1/namespaces/default/secrets", document)
    await world.root("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "bot"}})
    answer = await world.root("POST", "/api/v1/namespaces/default/serviceaccounts/bot/token", {"spec": {}})
    token = answer.json["status"]["token"]
    lines = await world.lines()
    assert [one["resource"] for one in lines] == ["secrets", "serviceaccounts", "serviceaccounts/token"]
    text = world.path.read_text()
    for hidden in (secret, "hunter2", token, ROOT):
        assert hidden not in text


def test_a_full_file_moves_out_of_the_way(tmp_path: Path) -> None:
    file = AuditFile(str(tmp_path / "audit.log"), 10)
    file.write([b"%d2345\n" % number for number in range(4)])
    file.write([b"last\n"])
    file.close()
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) == 0o600
    found = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert found == {
        "audit.log": ["last"],
        "audit.log.1": ["32345"],
        "audit.log.2": ["22345"],
        "audit.log.3": ["12345"],
        "audit.log.4": ["02345"],
    }


def test_only_ten_older_files_are_kept(tmp_path: Path) -> None:
    file = AuditFile(str(tmp_path / "audit.log"), 1)
    file.write([b"%d\n" % number for number in range(20)])
    file.close()
    assert len(list(tmp_path.iterdir())) == 11
    assert (tmp_path / "audit.log.10").read_text() == "9\n"


def test_a_log_that_is_there_already_goes_on(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        file = AuditFile(str(tmp_path / "audit.log"), 100)
        file.write([line])
        file.close()
    assert (tmp_path / "audit.log").read_bytes() == b"one\ntwo\n"


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditLogError, match=r"nowhere/audit\.log: No such file or directory"):
        AuditFile(str(tmp_path / "nowhere" / "audit.log"), 0)


async def test_what_was_added_last_is_written_at_the_end(tmp_path: Path) -> None:
    log = AuditLog(AuditFile(str(tmp_path / "audit.log"), 0))
    writing = asyncio.create_task(log.run())
    for number in range(100):
        await log.add({"number": number})
        await asyncio.sleep(0)
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    found = [msgspec.json.decode(line)["number"] for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert found == list(range(100))
