"""Unit tests of `fairway.proxy.main`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fairway.proxy.main import LOOK_SECONDS, FileChanged, tell, until_changed, until_signalled
from fairway.runtime.clock import FakeClock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_work_and_is_no_error(number: int) -> None:
    ended = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with asyncio.timeout(30):
        await until_signalled(work())
    assert ended == [True]


async def test_what_went_wrong_is_told_without_the_groups_around_it() -> None:
    async def fail() -> None:
        raise OSError(5, "the disk is gone")

    async def work() -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.Event().wait())
            outer.create_task(fail())

    with pytest.raises(OSError, match="the disk is gone"):
        await until_signalled(work())


async def test_somebody_elses_cancellation_is_passed_on() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(until_signalled(work()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_whoever_waits_gets_one_line_and_then_the_end() -> None:
    read, write = os.pipe()
    tell(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "ready\n"


def test_a_descriptor_that_is_none_does_not_end_the_proxy(caplog: pytest.LogCaptureFixture) -> None:
    tell(10_000)
    assert "--ready-fd 10000: Bad file descriptor" in caplog.text


@pytest.mark.reference("7.4 TestConfigChange")
async def test_a_file_that_says_something_else_ends_the_work_and_one_that_is_away_does_not(tmp_path: Path) -> None:
    file, clock = tmp_path / "config.conf", FakeClock()
    file.write_text("mode: nftables")
    watching = asyncio.create_task(until_changed(file, clock))
    for text in ("mode: nftables", None, "mode: nftables", "mode: ipvs"):
        await clock.sleeper()
        file.unlink() if text is None else file.write_text(text)
        clock.advance(LOOK_SECONDS)
    with pytest.raises(FileChanged, match="has changed: this process ends"):
        await asyncio.wait_for(watching, 30)
