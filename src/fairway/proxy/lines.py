"""Rounds as lines of JSON, for the program that has started this one."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import msgspec

from fairway.proxy.cache import Batch
from fairway.proxy.listeners import Listener
from fairway.proxy.pages import round_document
from fairway.proxy.receipts import Receipt, Round

log = logging.getLogger(__name__)


class RoundLines(Listener):
    """Writes a line for each round; nobody waits for a reader, and one that is too slow gets no more of them.

    ``acknowledged`` in it has, by kind, the resourceVersion of the newest object that the kernel now follows.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        try:
            os.set_blocking(descriptor, False)
        except OSError as error:
            log.warning("--receipts-fd %d: %s", descriptor, error.strerror)
            self._descriptor = None

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        if self._descriptor is None:
            return
        newest = {one.kind: one.resource_version for one in receipts}
        try:
            os.write(self._descriptor, msgspec.json.encode({**round_document(done), "acknowledged": newest}) + b"\n")
        except OSError as error:
            log.warning("--receipts-fd %d: %s; it gets no more lines", self._descriptor, error.strerror)
            os.close(self._descriptor)
            self._descriptor = None
