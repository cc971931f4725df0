"""Guests: a whole kernel in a process of this machine, that runs one program. No hardware support is needed.

    with started(Job(["python", "-m", "pytest"])) as guest:      test process ── unshare ── kernel ── init ── pytest
        for line in guest.lines(60): ...                                           └─ all of it is gone with the block

The guest sees the machine's files, the virtual environment too, and writes to memory; only its job's directory,
``/run/job`` in the guest, is shared both ways. `fairway.lab.vm.kinds` has the kernels that there are; what each is good
for stands in docs/guides/kernels-in-a-guest.md.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fairway.lab.vm import init, leash
from fairway.lab.vm.kind import INSIDE, GuestError, GuestUnavailable, Job, Kind, program
from fairway.lab.vm.kinds import UML

SHARED = init.JOB
"""Where the guest finds its job's directory."""

_PANIC = "Kernel panic"
_KEPT_LINES = 60
_END_SECONDS = 10.0


class Guest:
    """A running guest."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self._process, self.directory = process, directory
        self._started = time.monotonic()
        self._last: list[str] = []
        self._buffer = b""

    @property
    def process(self) -> int:
        """The id of the process that everything of the guest ends with."""
        return self._process.pid

    def lines(self, seconds: float) -> Iterator[str]:
        """What appears on the console, the program's output too, until the guest is off.

        Raises `GuestError` when it is not off after so many seconds from its start.
        """
        assert self._process.stdout is not None
        console = self._process.stdout.fileno()
        while True:
            left = self._started + seconds - time.monotonic()
            if left <= 0 or not select.select([console], [], [], left)[0]:
                raise GuestError(f"the guest is not done after {seconds:g} s{self.told()}")
            data = os.read(console, 1 << 16)
            self._buffer += data
            *whole, self._buffer = self._buffer.split(b"\n")
            for line in (*whole, *([self._buffer] if not data and self._buffer else ())):
                text = line.decode(errors="replace").rstrip("\r")
                self._last = [*self._last[-_KEPT_LINES:], text]
                if text.startswith(_PANIC):  # it would start anew, for ever
                    raise GuestError(f"the guest's kernel gave up{self.told()}")
                yield text
            if not data:
                return

    def wait(self, seconds: float) -> int:
        """The exit code of the program. Raises `GuestError` when there is none."""
        for _ in self.lines(seconds):
            pass
        self._process.wait(_END_SECONDS)
        try:
            return int((self.directory / "exit").read_text())
        except (FileNotFoundError, ValueError):
            raise GuestError(f"the guest ended before its program did{self.told()}") from None

    def told(self) -> str:
        """The last lines of the console, to stand below a message."""
        return "".join(f"\n  {line}" for line in self._last) or " (and its console is empty)"


@contextmanager
def started(job: Job, kind: Kind = UML) -> Iterator[Guest]:
    """A guest that is gone after the ``with`` block, and with the thread that started it, however that ends.

    Raises `GuestUnavailable`.
    """
    if reason := kind.missing():
        raise GuestUnavailable(reason)
    with TemporaryDirectory(prefix="fairway-guest-") as text:
        directory = Path(text)
        told = {
            "argv": list(job.argv),
            "directory": str(job.directory),
            "environment": {**job.environment, INSIDE: "1"},
            "modules": list(job.modules),
        }
        for name, content in {**job.files, "job.json": json.dumps(told)}.items():
            (directory / name).write_text(content)
        with subprocess.Popen(
            [*_leash(), *kind.command(job, directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        ) as process:
            try:
                yield Guest(process, directory)
            finally:
                process.send_signal(signal.SIGKILL)


def run(job: Job, kind: Kind = UML, *, seconds: float = 60.0) -> tuple[int, str]:
    """The exit code of a program in a guest of its own, and what it and its kernel wrote. Raises `GuestError`."""
    with started(job, kind) as guest:
        output = [*guest.lines(seconds)]
        return guest.wait(seconds), "\n".join(output)


def _leash() -> list[str]:
    """The guest's processes are in a process namespace of their own, whose first process dies with ours."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    unshare = [program("unshare"), *rights, "--pid", "--fork", "--kill-child=KILL", "--"]
    return [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *unshare]
