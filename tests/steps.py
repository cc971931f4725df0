"""What something costs, on whatever machine: how many instructions of Python's it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any


def steps(do: Callable[[], object]) -> int:
    """The instructions of ``do`` and of all that it calls."""
    counted, before = count(), sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        next(counted)
        return trace

    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return next(counted)
