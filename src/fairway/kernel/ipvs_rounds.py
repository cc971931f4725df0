"""A look at the kernel every few seconds: IPVS and ipsets tell nobody when somebody changes them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from fairway.kernel.nfnetlink import KernelRefused

_LOOK_SECONDS, _LOOK_SHARE = 5.0, 50
"""Seconds between two looks, and how many times as long as the last one took."""


class Rounds:
    """Has the kernel looked at every few seconds, in a thread of its own, and is readable when others changed it."""

    def __init__(self, look: Callable[[], bool]) -> None:
        """``look`` says whether somebody else has changed something; raises `KernelRefused` or `OSError`."""
        self._look = look
        self._end = threading.Event()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A thread is in the network namespace of the one that starts it.
        self._thread = threading.Thread(target=self._go, name="ipvs-rounds", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._event

    def others(self) -> list[str]:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        return ["somebody (IPVS does not tell who)"]

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        os.close(self._event)

    def _go(self) -> None:
        seconds = _LOOK_SECONDS
        while not self._end.wait(seconds):
            started = time.monotonic()
            try:
                changed = self._look()
            except (KernelRefused, OSError):
                changed = True  # what is wrong will be seen, and told, when the whole is read
            if changed:
                os.eventfd_write(self._event, 1)
            seconds = max(_LOOK_SECONDS, _LOOK_SHARE * (time.monotonic() - started))
