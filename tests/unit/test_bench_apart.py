"""Unit tests of `fairway.bench.apart`: nobody measured shares a processor with who measures."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from fairway.bench.apart import apart


@pytest.fixture
def process() -> Iterator[int]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as started:
        yield started.pid


def test_each_has_processors_of_its_own_and_none_is_left_idle(process: int) -> None:
    before = os.sched_getaffinity(0)
    with apart(process) as alone:
        ours, theirs = os.sched_getaffinity(0), os.sched_getaffinity(process)
        assert alone is (len(before) > 1)
        assert (len(ours), ours & theirs) == (1, set() if alone else before)
        assert ours | theirs == before
    assert os.sched_getaffinity(0) == before


def test_one_processor_is_for_both(process: int) -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    try:
        os.sched_setaffinity(0, one)
        with apart(process) as alone:
            assert (alone, os.sched_getaffinity(0), os.sched_getaffinity(process)) == (False, one, before)
    finally:
        os.sched_setaffinity(0, before)


def test_who_has_ended_cannot_be_set_apart() -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has one processor")
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with pytest.raises(ProcessLookupError), apart(ended.pid):
        raise AssertionError("nobody is there")
