"""How commands speak: results on stdout, complaints on stderr, exit codes that scripts can use."""

from __future__ import annotations

import sys
from typing import Any, Literal

import msgspec
from cyclopts import Parameter

from fairway.objects.printing import one_line

Output = Literal["text", "json"]

# No --no-FLAG beside each flag; a default that says nothing is not shown.
FLAGS = Parameter(negative="", show_default=lambda value: str(value) if value else None)

EXIT_FAILED = 1  # the answer is no, or something did not work
EXIT_USAGE = 2  # the command line or a file it names makes no sense


class CommandError(Exception):
    """A command that cannot go on; the message is all that the user sees."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


def complain(message: str) -> None:
    first, *rest = map(one_line, message.splitlines() or [""])  # names out of files are in it
    print(f"fairway: error: {first}", file=sys.stderr)
    for line in rest:
        print(f"  {line}", file=sys.stderr)


def tell(message: str) -> None:
    """What a command that takes its time is at; on stderr, so that stdout holds the result alone."""
    print(message, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON document, indented, on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
