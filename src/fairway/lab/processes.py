"""The programs of a lab: started together, watched while the lab comes up, left running afterwards.

A program says that it is ready by writing to a pipe that it was given (``--ready-fd``); one that dies before is named
with the last lines of what it said.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.errors import LabError
from fairway.lab.state import State

_SHOWN_LINES = 15


class ProgramDied(LabError):
    """A program of the lab ended by itself."""


@dataclass(frozen=True)
class Program:
    """A running program. ``role`` is its name in the lab: ``apiserver``, ``proxy-node-1``."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path

    async def died(self) -> ProgramDied:
        """Wait until it ends; what to tell then."""
        handle = os.pidfd_open(self.process.pid)
        try:
            await _readable(handle)
        finally:
            os.close(handle)
        return self.obituary()

    def obituary(self) -> ProgramDied:
        code = self.process.wait()
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return ProgramDied(f"{self.role} ended with {ending}; the last it said ({self.log}):\n{tail(self.log)}")


class Programs:
    """The programs that one `up` started."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.running: list[Program] = []

    def start(
        self,
        role: str,
        argv: Sequence[str],
        *,
        namespace: NetworkNamespace | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Program:
        """Start a program in the background, inside ``namespace``; it outlives us.

        Raises `LabError` if there is no such program.
        """
        log = self._state.logs / f"{role}.log"

        def call() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                    env={**os.environ, **self._state.environment, "PYTHONUNBUFFERED": "1"},
                )

        try:
            program = Program(role, namespace.run(call) if namespace else call(), log)
        except OSError as error:
            raise LabError(f"{role} cannot be started: {argv[0]}: {error.strerror}") from None
        self.running.append(program)
        return program

    async def first_death(self) -> ProgramDied:
        """Wait until any of the programs ends; what to tell then."""
        waiting = [asyncio.create_task(program.died()) for program in self.running]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def reap(self) -> None:
        """Take leave of programs that were stopped."""
        for program in self.running:
            program.process.wait()
        self.running.clear()


class ReadyPipe:
    """The pipe by which a program tells that it is ready: give it ``write``, call `started`, then await `ready`."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()

    def started(self) -> None:
        """The program has its own copy of the writing end by now."""
        os.close(self.write)

    async def ready(self, program: Program) -> None:
        """Wait for the program's word; raises `ProgramDied` if it closes the pipe without one."""
        try:
            await _readable(self._read)
            if not os.read(self._read, 64):
                raise await program.died()
        finally:
            os.close(self._read)


def tail(log: Path, lines: int = _SHOWN_LINES) -> str:
    """The last lines of a log, indented; says so if there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        text = ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (nothing)"


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)
