"""Which proxies a benchmark compares, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
