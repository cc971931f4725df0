"""Which proxies a benchmark compares, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.bench.process import Program


def programs(mode: str, command: str) -> list[Program]:
    """The proxies to be measured: ours in a mode, and another one if there is a command line for it."""
    from fairway.bench.process import Program
    from fairway.modes.registry import MODES

    if mode not in MODES:
        raise CommandError(f"no mode {mode!r}; there is: {', '.join(MODES)}", EXIT_USAGE)
    try:
        return [Program(mode=mode), *([Program(command=command)] if command else [])]
    except ValueError as error:
        raise CommandError(f"--command: {error}", EXIT_USAGE) from None
