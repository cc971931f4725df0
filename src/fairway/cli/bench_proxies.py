"""What the benchmarks of proxies have in common: which ones are compared, and what is said when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fairway.cli.ending import tidy
from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.bench.process import Program


def programs(modes: str, command: str) -> list[Program]:
    """The proxies to be measured: ours in some modes, and another one if there is a command line for it."""
    from fairway.bench.process import Program

    try:
        ours = [Program.named(one) for one in modes.split(",")]
    except ValueError as error:
        raise CommandError(f"--mode: {error}", EXIT_USAGE) from None
    try:
        return [*ours, *([Program(command=command)] if command else [])]
    except ValueError as error:
        raise CommandError(f"--command: {error}", EXIT_USAGE) from None


@contextmanager
def measuring() -> Iterator[None]:
    """Around a measurement: it is tidied up when it is ended, and what went wrong is a sentence."""
    from fairway.bench.process import BenchFailed

    try:
        with tidy():
            yield
    except PermissionError:
        raise CommandError("a network namespace can only be made by root: try sudo") from None
    except (BenchFailed, TimeoutError) as error:
        raise CommandError(str(error)) from None
