"""Durations as Kubernetes' flags have them: ``15s``, ``1h30m``, ``500ms``."""

from __future__ import annotations

import re

from fairway.cli.output import EXIT_USAGE, CommandError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.ASCII)
_DURATION = re.compile(rf"0|(?:{_PART.pattern})+", re.ASCII)


def seconds(text: str, option: str, *, zero: bool = False) -> float:
    """A duration in seconds; raises `CommandError` naming the option for what is none, or is zero and may not be."""
    found = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not _DURATION.fullmatch(text) or not (found or zero):
        raise CommandError(f"{option} {text!r} is not a duration: expected something like 15s or 1m30s", EXIT_USAGE)
    return found
