"""A command that runs under a kernel of its own: what it prints is printed here, and its exit code is ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fairway.cli.ending import tidy
from fairway.cli.output import CommandError
from fairway.lab.errors import LabError
from fairway.lab.vm.guest import SHARED, started
from fairway.lab.vm.kind import Job
from fairway.lab.vm.kinds import KINDS

_ERRORS = "errors"
_PATIENCE = 3600.0
_KEPT_VARIABLES = ("HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")


def in_guest(kind: str, command: Sequence[str]) -> int:
    """The exit code of ``fairway COMMAND`` in a guest of a kind of `KINDS`. Raises `CommandError`."""
    fairway = [sys.executable, "-m", "fairway", *command]
    # The console is one for all; complaints are kept apart from results.
    return _run(kind, ["sh", "-c", f'exec "$@" 2>{SHARED}/{_ERRORS}', "sh", *fairway], 1024)


def any_program(kind: str, command: Sequence[str], memory: int) -> int:
    """The same of any program, that finds this ``fairway``, with so many MiB; all that it says is on the console."""
    found = str(Path(sys.executable).parent)
    return _run(kind, ["sh", "-c", 'PATH="$0:$PATH" exec "$@"', found, *command], memory)


def _run(kind: str, argv: Sequence[str], memory: int) -> int:
    job = Job(
        argv=argv,
        environment={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        modules=KINDS[kind].modules,
        memory=memory,
    )
    try:
        with tidy(), started(job, KINDS[kind]) as guest:
            for line in guest.lines(_PATIENCE):
                print(line, flush=True)
            code = guest.wait(_PATIENCE)
            errors = guest.directory / _ERRORS
            sys.stderr.write(errors.read_text() if errors.exists() else "")
            return code
    except LabError as error:
        raise CommandError(str(error)) from None
