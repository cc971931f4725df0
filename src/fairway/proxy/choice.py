"""Which mode this node is in, on disk beside the last known state: a choice by `fairway switch` outlives the process.

the configuration says the same as when it was written ──▶ the mode that is written down counts
it says something else now                             ──▶ the configuration counts: it was the later word
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from fairway.modes.registry import MODES
from fairway.objects.printing import one_line
from fairway.proxy.keptfile import KeptFile
from fairway.proxy.site import Target

log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/thread-self/ns/net")


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """``said`` is what the configuration said, ``here`` what the node is in; ``leaving`` are modes that may have left
    something in the kernel. ``kernel`` tells one kernel and network namespace from another."""

    said: Target
    here: Target
    leaving: tuple[Target, ...] = ()
    kernel: str = ""

    @property
    def is_ordered(self) -> bool:
        """Whether somebody wanted another mode than the configuration says."""
        return not self.said.is_met_by(self.here)


class ChoiceFile(KeptFile[Choice]):
    """The file; without a path nothing is kept. It belongs to the network namespace of the thread that calls."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, Choice, "which mode this node is in")

    def load(self) -> Choice | None:
        """What was saved; None when there is nothing that can be used, as with a mode of a later version."""
        found = super().load()
        for one in (found.said, found.here, *found.leaving) if found else ():
            if one.mode not in MODES:
                log.warning("%s cannot be used: this version has no mode %s", self.path, one_line(one.mode))
                return None
        return found


def this_kernel() -> str:
    """Different after a boot, and in another network namespace."""
    try:
        return f"{_BOOT.read_text().strip()} {os.stat(_NAMESPACE).st_ino}"
    except OSError:
        return ""


def beside(state_file: Path) -> Path:
    """Where the choice is, when the last known state is there."""
    return state_file.with_name(f"{state_file.stem}.mode.json")
