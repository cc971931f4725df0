"""Unit tests of `fairway.proxy.laststate`."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs

from fairway.client.kubeconfig import Connection
from fairway.objects.cluster import Node
from fairway.objects.compact import SlimEndpoint, SlimSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.laststate import SAVE_SECONDS, LastState, Remembered, cluster_of, keep
from fairway.runtime.clock import FakeClock

STATE = Remembered(
    cluster="here",
    saved_at=1_000_000.5,
    services=[
        Service(
            metadata=ObjectMeta(namespace="shop", name="web", resource_version="7"),
            spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80, target_port="http"),)),
        )
    ],
    slices=[SlimSlice(metadata=ObjectMeta(name="web-1"), endpoints=(SlimEndpoint(addresses=("10.244.1.2",)),))],
    nodes=[Node(metadata=ObjectMeta(name="node-1", labels={"a": "b"}))],
)


def test_what_was_saved_is_loaded_by_the_same_cluster_alone(tmp_path: Path) -> None:
    last = LastState(tmp_path / "new" / "node-1.json", "here")
    assert last.load() is None
    last.save(STATE)
    assert last.load() == STATE
    assert last.path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in last.path.parent.iterdir()] == ["node-1.json"]
    assert LastState(last.path, "elsewhere").load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cluster": "here"}'])
def test_a_file_that_is_none_of_ours_is_told_and_not_used(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = LastState(tmp_path / "node-1.json", "here")
    last.path.write_text(text)
    assert last.load() is None
    assert f"{last.path} cannot be used: " in caplog.text


def test_a_place_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    last = LastState(tmp_path / "file" / "node-1.json", "here")
    with caplog.at_level(logging.WARNING):
        last.save(STATE)
        last.save(STATE)
    assert caplog.text.count("the last known state cannot be kept in") == 1


NO_ROOM = """
import resource, sys
from pathlib import Path
from fairway.proxy.laststate import LastState, Remembered
last = LastState(Path(sys.argv[1]), "here")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
last.save(Remembered(cluster="there", saved_at=1.0, services=[], slices=[], nodes=[]))
"""


def test_what_cannot_be_kept_is_told_again_after_it_could(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last = LastState(tmp_path / "node-1.json", "here")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            last.path.mkdir()
            last.save(STATE)
            last.path.rmdir()
            last.save(STATE)
            last.path.unlink()
    assert caplog.text.count("the last known state cannot be kept in") == 2


def test_a_full_disk_keeps_what_it_held_and_no_half_of_what_it_did_not_take(tmp_path: Path) -> None:
    last = LastState(tmp_path / "node-1.json", "here")
    last.save(STATE)
    with subprocess.Popen([sys.executable, "-c", NO_ROOM, str(last.path)], stderr=subprocess.PIPE) as other:
        _, said = other.communicate()
    assert "cannot be kept in" in said.decode()
    assert list(tmp_path.iterdir()) == [last.path]
    assert last.load() == STATE


def test_a_device_is_not_put_aside_for_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "null"
    os.mkfifo(path)
    last = LastState(path, "here")
    last.save(STATE)
    assert last.load() is None
    assert path.is_fifo()
    assert f"the last known state cannot be kept in {path}: it is no regular file" in caplog.text
    assert f"{path} cannot be used: it is no regular file" in caplog.text


def test_another_server_authority_or_node_is_another_cluster() -> None:
    one = Connection("https://10.0.0.1:6443", b"authority")
    names = {
        cluster_of(one, "node-1"),
        cluster_of(one, "node-2"),
        cluster_of(replace(one, certificate_authority=b"other"), "node-1"),
        cluster_of(replace(one, server="https://10.0.0.2:6443"), "node-1"),
    }
    assert len(names) == 4
    assert cluster_of(replace(one, token="new"), "node-1") in names


def test_it_is_kept_when_something_has_changed_and_once_more_in_the_end(tmp_path: Path) -> None:
    last, clock, changes = LastState(tmp_path / "node-1.json", "here"), FakeClock(), [3]

    def saved() -> float:
        found = last.load()
        return found.saved_at if found else 0.0

    async def scenario() -> list[float]:
        state = partial(structs.replace, STATE)
        keeping = asyncio.create_task(keep(last, lambda: changes[0], lambda now: state(saved_at=now), clock))
        await clock.sleeper()
        found = [saved()]
        clock.advance(SAVE_SECONDS)
        await clock.sleeper()
        found.append(saved())
        changes[0] = 4
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        return [*found, saved()]

    began = clock.now()
    assert asyncio.run(scenario()) == pytest.approx([began, began, began + SAVE_SECONDS])
