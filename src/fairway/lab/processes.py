"""The programs of a lab: started together, watched while the lab comes up, left running afterwards.

How a program is started is a value (`Start`), which is written down beside its process number: so `fairway lab status`
can tell which one is missing, and `fairway lab restart` can start it again just so.

A program says that it is ready by writing to a pipe that it was given (``--ready-fd``); one that dies before is named
with the last lines of what it said.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.errors import LabError
from fairway.lab.state import State, identity

_SHOWN_LINES = 15


class ProgramDied(LabError):
    """A program of the lab ended by itself."""


@dataclass(frozen=True, kw_only=True)
class Listen:
    """A socket that a program inherits: bound to this address inside a namespace (empty: on this machine)."""

    host: str
    port: int
    namespace: str = ""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How to start a program: ``python -m MODULE ARGUMENTS`` inside a namespace (empty: on this machine).

    ``role`` is its name in the lab: ``apiserver``, ``proxy-node-1``. It gets a ``--listen-fd`` for each socket, and a
    ``--ready-fd`` if it ``announces`` itself.
    """

    role: str
    module: str
    arguments: tuple[str, ...]
    namespace: str = ""
    listen: tuple[Listen, ...] = ()
    announces: bool = False


@dataclass(frozen=True)
class Record:
    """What is written down of a program: how it was started, and as which process (`identity`)."""

    start: Start
    process: str

    @property
    def pid(self) -> int | None:
        """The process, if it still runs."""
        pid = int(self.process.partition(" ")[0] or 0)
        return pid if self.process and identity(pid) == self.process else None


@dataclass(frozen=True)
class Program:
    """A program that this process started. ``start`` has the ports that it really got."""

    start: Start
    process: subprocess.Popen[bytes]
    log: Path
    pipe: int | None

    @property
    def role(self) -> str:
        return self.start.role

    async def ready(self) -> None:
        """Wait for its word, if it gives one; raises `ProgramDied` if it ends without. Only once."""
        if self.pipe is None:
            return
        try:
            await _readable(self.pipe)
            if not os.read(self.pipe, 64):
                raise await self.died()
        finally:
            os.close(self.pipe)

    async def died(self) -> ProgramDied:
        """Wait until it ends; what to tell then."""
        handle = os.pidfd_open(self.process.pid)
        try:
            await _readable(handle)
        finally:
            os.close(handle)
        code = self.process.wait()
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return ProgramDied(f"{self.role} ended with {ending}; the last it said:\n{tail(self.log)}")


class Programs:
    """The programs of a lab: those that this process started, and the records of all."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.running: list[Program] = []

    @property
    def _directory(self) -> Path:
        return self._state.path / "programs"

    def start(self, start: Start) -> Program:
        """Start a program in the background; it outlives us. Raises `LabError` when that cannot be done."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(_listening(one)) for one in start.listen]
            ports = [made.getsockname()[1] for made in sockets]
            start = replace(
                start, listen=tuple(replace(one, port=port) for one, port in zip(start.listen, ports, strict=True))
            )
            handles = [made.fileno() for made in sockets]
            arguments = [*start.arguments, *(f"--listen-fd={handle}" for handle in handles)]
            pipe: int | None = None
            if start.announces:
                pipe, write = os.pipe()
                stack.callback(os.close, write)
                handles.append(write)
                arguments.append(f"--ready-fd={write}")
            log = self._state.logs / f"{start.role}.log"
            program = Program(start, self._launch(start, arguments, handles, log), log, pipe)
        self.running.append(program)
        self._directory.mkdir(exist_ok=True)
        record = Record(start, identity(program.process.pid))
        (self._directory / start.role).write_bytes(msgspec.json.encode(record))
        return program

    def _launch(self, start: Start, arguments: list[str], handles: list[int], log: Path) -> subprocess.Popen[bytes]:
        def call() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    [sys.executable, "-m", start.module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=handles,
                    start_new_session=True,
                    env={**os.environ, **self._state.environment, "PYTHONUNBUFFERED": "1"},
                )

        try:
            # A child belongs to the namespace of the thread that started it.
            return NetworkNamespace(start.namespace).run(call) if start.namespace else call()
        except OSError as error:
            raise LabError(f"{start.role} cannot be started: {error}") from None

    def records(self) -> list[Record]:
        """What is written down of every program of the lab, by role; one that is half written is left out."""
        if not self._directory.is_dir():
            return []
        found = []
        for path in sorted(self._directory.iterdir()):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Record))
            except msgspec.DecodeError:
                continue  # its `up` was killed at this very moment
        return found

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


def _listening(listen: Listen) -> socket.socket:
    def call() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((listen.host, listen.port))
            made.listen(128)
        except OSError as error:
            made.close()
            raise LabError(f"cannot listen on {listen.host} port {listen.port}: {error.strerror}") from None
        return made

    return NetworkNamespace(listen.namespace).run(call) if listen.namespace else call()


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
