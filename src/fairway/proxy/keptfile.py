"""One value on disk for the next start: there whole or not at all, and no reason to stop when it cannot be kept."""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from fairway.objects.codec import DecodeError, decode

log = logging.getLogger(__name__)

ValueT = TypeVar("ValueT", bound=msgspec.Struct)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


@dataclass
class KeptFile(Generic[ValueT]):
    """``what`` is kept here, in words for the log; without a path nothing is."""

    path: Path | None
    type_: type[ValueT]
    what: str
    _complained: bool = False
    _writing: threading.Lock = field(default_factory=threading.Lock)
    """The last value may come while another thread still writes the one before."""

    def load(self) -> ValueT | None:
        """What was saved; None when there is nothing that can be used."""
        if self.path is None:
            return None
        try:
            _check_kind(self.path)
            return decode(self.path.read_bytes(), self.type_)
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            log.warning("%s cannot be used: %s", self.path, error.strerror if isinstance(error, OSError) else error)
            return None

    def save(self, value: ValueT) -> None:
        """Whole or not at all; what goes wrong is told once until it goes well again, and nothing depends on it."""
        if self.path is None:
            return
        try:
            with self._writing:
                _write_whole(self.path, msgspec.json.encode(value))
            self._complained = False
        except OSError as error:
            if not self._complained:
                log.warning("%s cannot be kept in %s: %s", self.what, self.path, error.strerror)
            self._complained = True


def _check_kind(path: Path) -> None:
    """Raises `OSError` for what is there and no file: ``/dev/null`` is not to be replaced by one, nor to be read."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")


def _write_whole(path: Path, data: bytes) -> None:
    """A file that holds what it held, or all of this, for its owner alone. Raises `OSError`."""
    _check_kind(path)
    beside = path.with_name(path.name + ".new")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(os.open(beside, _FLAGS, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):  # the half of it that a full disk had room for is in everybody's way
            beside.unlink()
        raise
