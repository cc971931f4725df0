"""A command that has made something for a while puts it away when it is ended by SIGTERM, as it does at Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def tidy() -> Iterator[None]:
    """Within the ``with`` block SIGTERM raises SystemExit; a second one no longer disturbs the tidying."""

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
