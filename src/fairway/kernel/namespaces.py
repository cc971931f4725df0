"""Network namespaces with a name, as ``ip netns`` keeps them: made, entered and removed.

A namespace lives as a bind mount in ``/run/netns``, so ``ip netns exec NAME …`` works on what is made here. A process
is never moved: a short-lived thread enters the namespace and does what has to be done there. What it opened (a socket,
a child process) belongs to that namespace for good.

    process ──thread──▶ setns(/run/netns/NAME) ──▶ function() ──▶ result, in the caller's thread
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


@dataclass(frozen=True)
class NetworkNamespace:
    """A named network namespace; the value is only the name, the kernel holds the thing."""

    name: str

    @property
    def path(self) -> Path:
        return DIRECTORY / self.name

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def run(self, function: Callable[[], T]) -> T:
        """What ``function`` returns (or raises) when it runs inside; raises `OSError` if there is no such namespace."""
        return _in_thread(lambda: _after(self._enter, function))

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A new socket that lives inside, whoever uses it."""
        return self.run(lambda: socket.socket(family, kind, protocol))

    def enter(self) -> None:
        """Move the calling thread inside for good: for a process that is about to become another program."""
        self._enter()

    def _enter(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(handle, _CLONE_NEWNET), f"enter the network namespace {self.name}")
        finally:
            os.close(handle)


def create(name: str) -> NetworkNamespace:
    """Make an empty namespace, its loopback still down.

    Raises `FileExistsError` if the name is taken, `PermissionError` without the right (CAP_SYS_ADMIN) to make one.
    """
    _prepare_directory()
    namespace = NetworkNamespace(name)
    os.close(os.open(namespace.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        _in_thread(lambda: _unshare_onto(namespace.path))
    except BaseException:
        namespace.path.unlink()
        raise
    return namespace


def delete(name: str) -> bool:
    """Remove the name; the kernel frees the namespace with its last process and socket. False: there was none.

    Also removes the plain file that a crash between its creation and its mount leaves.
    """
    path = DIRECTORY / name
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        _check(-1, f"unmount {path}")
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def names(prefix: str = "") -> list[str]:
    """The names in use that begin with ``prefix``, sorted."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in DIRECTORY.iterdir() if entry.name.startswith(prefix))


@contextmanager
def created(name: str) -> Iterator[NetworkNamespace]:
    """A namespace that exists as long as the ``with`` block."""
    namespace = create(name)
    try:
        yield namespace
    finally:
        delete(name)


def _prepare_directory() -> None:
    """A shared mount, as ``ip netns`` makes it, so that every mount namespace of the machine sees the same names."""
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory = os.fsencode(DIRECTORY)
    if _libc.mount(None, directory, None, _MS_SHARED | _MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:  # EINVAL: not a mount point yet
        _check(-1, f"share {DIRECTORY}")
    _check(_libc.mount(directory, directory, None, _MS_BIND | _MS_REC, None), f"mount {DIRECTORY}")
    _check(_libc.mount(None, directory, None, _MS_SHARED | _MS_REC, None), f"share {DIRECTORY}")


def _unshare_onto(path: Path) -> None:
    _check(_libc.unshare(_CLONE_NEWNET), "make a network namespace")
    _check(_libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), None, _MS_BIND, None), f"mount {path}")


def _after(enter: Callable[[], None], function: Callable[[], T]) -> T:
    enter()
    return function()


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:  # whatever it is, it is the caller's
            errors.append(error)

    thread = threading.Thread(target=call, name="namespace")
    thread.start()
    thread.join()
    if errors:
        # Without this the error would keep its own frame alive, and with it every socket that the frame holds.
        try:
            raise errors[0]
        finally:
            errors.clear()
    return results[0]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
