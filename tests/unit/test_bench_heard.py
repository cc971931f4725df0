"""Unit tests of `fairway.bench.heard`: what the proxy says of its rounds, and when that was heard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fairway.bench.heard import Rounds, readable_at


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for one in ends:
        try:
            os.close(one)
        except OSError:
            continue


def _round(revision: int, commands: int = 1) -> bytes:
    return json.dumps({"commands": commands, "acknowledged": {"EndpointSlice": str(revision)}}).encode() + b"\n"


@pytest.mark.parametrize("awake", [False, True])
def test_what_is_there_is_found_at_once_awake_or_asleep(pipe: tuple[int, int], *, awake: bool) -> None:
    source, proxy = pipe
    assert readable_at(source, 0, awake=awake) is None
    before = time.perf_counter()
    os.write(proxy, b"x")
    found = readable_at(source, 5, awake=awake)
    assert found is not None
    assert before <= found <= time.perf_counter()


@pytest.mark.parametrize("awake", [False, True])
def test_who_hears_nothing_gives_up_in_time_awake_or_asleep(pipe: tuple[int, int], *, awake: bool) -> None:
    source, _ = pipe
    before, policy = time.perf_counter(), os.sched_getscheduler(0)
    assert readable_at(source, 0.02, awake=awake) is None
    assert time.perf_counter() - before >= 0.02
    assert os.sched_getscheduler(0) == policy


def test_who_could_not_come_back_does_not_stand_back(pipe: tuple[int, int]) -> None:
    code = "import os; from fairway.bench.heard import readable_at; readable_at(0, 0.01, awake=True); "
    without = ["setpriv", "--bounding-set=-sys_nice"] if os.geteuid() == 0 else []
    command = [*without, sys.executable, "-c", f"{code}print(os.sched_getscheduler(0))"]
    done = subprocess.run(command, stdin=pipe[0], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(os.sched_getscheduler(0)), "")


def test_a_change_is_acknowledged_by_the_round_that_has_its_revision(pipe: tuple[int, int]) -> None:
    source, proxy = pipe
    rounds = Rounds(source)
    os.write(proxy, _round(4) + _round(5, commands=0) + b'{"comm')
    before = time.perf_counter()
    heard = rounds.acknowledged(5, 5)
    assert heard is not None
    assert before <= heard <= time.perf_counter()
    assert rounds.commits == 1
    os.write(proxy, _round(6)[6:])
    assert rounds.acknowledged(6, 5) is not None
    assert rounds.commits == 2


def test_a_change_that_is_not_acknowledged_is_waited_for_only_so_long(pipe: tuple[int, int]) -> None:
    source, proxy = pipe
    os.write(proxy, _round(4))
    assert Rounds(source).acknowledged(5, 0.02) is None


def test_of_a_proxy_that_is_gone_nothing_is_heard(pipe: tuple[int, int]) -> None:
    source, proxy = pipe
    os.close(proxy)
    assert Rounds(source).acknowledged(1, 5) is None
    assert not Rounds(source).anything(5)
