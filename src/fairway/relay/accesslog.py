"""The access log: a line of JSON for each connection, written by a thread, so that a slow disk delays nobody."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

MOST_WAITING = 10_000
"""Lines; what comes while so many wait is counted, not kept."""


class Line(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is told of one connection, when it has ended. Durations are in seconds."""

    time: str
    """When it began."""
    service: str
    frontend: str
    protocol: str
    client: str
    backend: str = ""
    """Empty when it never came to one."""
    received: int = 0
    """Bytes from the client; after TLS."""
    sent: int = 0
    """Bytes to the client."""
    seconds: float = 0.0
    connect_seconds: float = 0.0
    """Until the backend had answered."""
    attempts: int = 0
    """Backends that were tried."""
    tls: str = ""
    """Version, or empty."""
    end: str = ""
    """How it ended: ``client closed``, ``backend reset``, ``refused: max-connections`` …"""


class AccessLog:
    """Lines to a file that is opened anew when somebody has moved it away, or to standard output for ``-``.

    ``complain`` is told in a sentence that it cannot be written, once until it can be again.
    """

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._waiting: queue.Queue[Line | None] = queue.Queue(MOST_WAITING)
        self.lost = 0
        """Lines that were not kept, since the start."""
        self._thread: threading.Thread | None = None

    def add(self, line: Line) -> None:
        """Never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def flush(self) -> None:
        """Wait until what was added is written, or lost."""
        self._waiting.join()

    def close(self) -> None:
        """Write what waits, and no more."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def _write(self) -> None:
        encoder, file, failing = msgspec.json.Encoder(), None, False
        last = False
        while not last:
            lines = [self._waiting.get()]
            while not self._waiting.empty():
                lines.append(self._waiting.get())
            last = None in lines
            text = "".join(encoder.encode(one).decode() + "\n" for one in lines if one is not None)
            try:
                file = self._open(file)
                file.write(text)
                file.flush()
                failing = False
            except OSError as error:
                self.lost += sum(1 for one in lines if one is not None)
                if not failing:
                    self._complain(f"the access log cannot be written to {self._path}: {error.strerror or error}")
                failing = True
            for _ in lines:
                self._waiting.task_done()
        if file is not None and file is not sys.stdout:
            file.close()

    def _open(self, file: TextIO | None) -> TextIO:
        if self._path == "-":
            return sys.stdout
        path = Path(self._path)
        if file is not None and path.exists() and path.stat().st_ino == _inode(file):
            return file
        if file is not None:
            file.close()
        return path.open("a", encoding="utf-8")


def _inode(file: TextIO) -> int:
    return os.fstat(file.fileno()).st_ino
