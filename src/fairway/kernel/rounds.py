"""A look at the kernel every few seconds, where it tells nobody when somebody changes what is ours.

thread: look ─ wait ─ look ─ wait ─ look ─▶ something is different ──eventfd──▶ the loop asks for `others`
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from fairway.kernel.nfnetlink import KernelRefused

_LOOK_SECONDS, _LOOK_SHARE = 5.0, 50
"""Seconds between two looks, and how many times as long as the last one took."""


class Rounds:
    """Looks in a thread of its own, and is readable when others have changed something."""

    def __init__(self, changed: Callable[[], bool], who: str) -> None:
        """``changed`` says whether somebody else, ``who``, has; it may raise `KernelRefused` or `OSError`."""
        self._changed, self._who = changed, who
        self._end = threading.Event()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A thread is in the network namespace of the one that starts it.
        self._thread = threading.Thread(target=self._go, name="rounds", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._event

    def others(self) -> list[str]:
        """Who has changed something since this was last asked."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        return [self._who]

    def look(self) -> None:
        """Once, now."""
        try:
            changed = self._changed()
        except (KernelRefused, OSError):
            changed = True  # what is wrong will be seen, and told, when the whole is read
        if changed:
            self.tell()

    def tell(self) -> None:
        """Somebody has changed something, and whoever says so has seen it by itself."""
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        os.close(self._event)

    def _go(self) -> None:
        seconds = _LOOK_SECONDS
        while not self._end.wait(seconds):
            started = time.monotonic()
            self.look()
            seconds = max(_LOOK_SECONDS, _LOOK_SHARE * (time.monotonic() - started))
