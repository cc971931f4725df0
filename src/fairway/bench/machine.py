"""What a figure was measured on, and who else took its processors; nothing that tells whose machine it is."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_STOLEN = 8
"""Which word of the first line of ``/proc/stat`` (proc_stat(5))."""


@dataclass(frozen=True)
class Machine:
    """From the moment at which it is made, before what is measured, until `told`."""

    load: float = field(default_factory=lambda: os.getloadavg()[0])
    begun: float = field(default_factory=time.perf_counter)
    stolen: float = field(default_factory=lambda: _stolen_seconds())
    processors: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Before a bench leaves most of them to whoever is measured."""

    def told(self) -> dict[str, Any]:
        """Processors that this process may use, their model, the load before the run, kernel and Python.

        ``stolen`` is the share of all processors' time since then that the host gave to other machines while there
        was work to do: 0 where the processors are real.
        """
        passed = (time.perf_counter() - self.begun) * (os.cpu_count() or 1)
        share = (_stolen_seconds() - self.stolen) / passed
        return {
            "processors": self.processors,
            "model": _model(),
            "load": round(self.load, 2),
            "stolen": round(min(share, 1.0), 4),  # it is counted in hundredths of a second
            "kernel": platform.release().partition("-")[0],
            "python": platform.python_version(),
        }


def sentence(told: Mapping[str, Any]) -> str:
    """The same for people; what other machines took is said where it is enough to be seen in the figures."""
    kept = f", {100 * told['stolen']:.1f} % of their time taken by the host" if told["stolen"] >= 0.005 else ""
    processors = f"{told['model']}, {told['processors']} processors{kept}"
    return f"on {processors}, load {told['load']}, kernel {told['kernel']}, Python {told['python']}"


def _stolen_seconds() -> float:
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0.0
    return int(line.split()[_STOLEN]) / _TICKS


def _model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(named, platform.machine())
