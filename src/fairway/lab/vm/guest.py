"""Guests under User-Mode Linux: a whole kernel that is a process of this machine, and runs one program.

    with started(Job(["python", "-m", "pytest"])) as guest:      test process ── unshare ── linux.uml ── init ── pytest
        for line in guest.lines(): ...                                              └─ all of it is gone with the block

The guest sees the machine's files, the virtual environment too, and writes to memory; only its job's directory,
``/run/job`` in the guest, is shared both ways. No hardware support and no privilege is needed. What a guest is good for
stands in docs/guides/kernels-in-a-guest.md.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fairway.lab.errors import LabError
from fairway.lab.vm import init, leash

KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
SHARED = init.JOB
"""Where the guest finds its job's directory."""

_PACKAGES = {"insmod": "kmod", "unshare": "util-linux"}
_PANIC = "Kernel panic"
_KEPT_LINES = 60
_END_SECONDS = 10.0


class GuestError(LabError):
    """A guest that cannot be started, or ended otherwise than by its program's end; with what its console showed."""


class GuestUnavailable(GuestError):
    """This machine has not what a guest needs; the text says what to install."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a guest is started for: one program, in a directory of this machine, with these variables.

    ``modules`` are loaded first: the kernel loads most by itself when they are asked for, but not on processors that
    need `leash.environment`, which it does not hand on to modprobe. ``memory`` is in MiB. The program finds ``files``,
    texts by name, in `SHARED`.
    """

    argv: Sequence[str]
    directory: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    memory: int = 1024


def missing() -> str:
    """What to install before a guest can be started, as a sentence; empty when nothing is missing."""
    packages = [] if KERNEL.exists() and MODULES.is_dir() else ["user-mode-linux"]
    packages += sorted({package for program, package in _PACKAGES.items() if not _program(program)})
    if not packages:
        return ""
    if "user-mode-linux" in packages and platform.machine() != "x86_64":
        return f"Debian has no User-Mode Linux for {platform.machine()}"
    return f"a guest needs Debian's {' and '.join(packages)}: apt-get install {' '.join(packages)}"


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
def started(job: Job) -> Iterator[Guest]:
    """A guest that is gone after the ``with`` block, and with the thread that started it, however that ends.

    Raises `GuestUnavailable`.
    """
    if reason := missing():
        raise GuestUnavailable(reason)
    with TemporaryDirectory(prefix="fairway-guest-") as text:
        directory = Path(text)
        told = {
            "argv": list(job.argv),
            "directory": str(job.directory),
            "environment": dict(job.environment),
            "modules": list(job.modules),
        }
        for name, content in {**job.files, "job.json": json.dumps(told)}.items():
            (directory / name).write_text(content)
        with subprocess.Popen(
            [*_leash(), *_kernel(job, directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        ) as process:
            try:
                yield Guest(process, directory)
            finally:
                process.send_signal(signal.SIGKILL)


def run(job: Job, *, seconds: float = 60.0) -> tuple[int, str]:
    """The exit code of a program in a guest of its own, and what it and its kernel wrote. Raises `GuestError`."""
    with started(job) as guest:
        output = [*guest.lines(seconds)]
        return guest.wait(seconds), "\n".join(output)


def _leash() -> list[str]:
    """The guest's processes are in a process namespace of their own, whose first process dies with ours."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    unshare = [_program("unshare"), *rights, "--pid", "--fork", "--kill-child=KILL", "--"]
    return [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *unshare]


def _kernel(job: Job, directory: Path) -> list[str]:
    """Every file is the machine's; the console is our pipe; a panic ends the process."""
    return [
        str(KERNEL),
        f"mem={job.memory}M",
        *("rootfstype=hostfs", "rootflags=/", "ro"),
        *("con=null", "con0=null,fd:1", "quiet", "loglevel=3", "panic=-1", "random.trust_cpu=on"),
        f"uml_dir={directory}",
        *(f"{name}={value}" for name, value in leash.environment().items()),
        f"init={Path(sys.executable).resolve()}",
        *("--", "-I", "-S", init.__file__, str(directory), str(MODULES)),
    ]


def _program(name: str) -> str:
    """Where a program is, also for somebody whose PATH has no place for administrators."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
