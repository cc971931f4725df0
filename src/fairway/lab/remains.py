"""Find everything that a lab left on the machine, and remove it: processes, namespaces with their links, files.

Needs no cooperation: a process of a lab carries the lab's name in its environment or sits in one of its namespaces, a
namespace carries it in its own name. So it does not matter how far `up` came, or how it ended.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fairway.kernel import namespaces
from fairway.lab.state import MARK, State, names
from fairway.lab.topology import check_name, prefix

_PATIENCE = 3.0
_ROUNDS = 5


@dataclass(frozen=True)
class Removed:
    """What was there and is gone now."""

    namespaces: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()
    directory: bool = False

    def __bool__(self) -> bool:
        return bool(self.namespaces or self.processes or self.directory)


def remove(name: str) -> Removed:
    """Remove a lab, whatever there is of it; nothing happens if there is nothing.

    Raises `LabError` for an impossible name, `PermissionError` without the right to.
    """
    check_name(name)
    stopped = _stop_all(name)
    found = namespaces.names(prefix(name))
    for namespace in found:
        namespaces.delete(namespace)
    return Removed(tuple(found), tuple(stopped), State(name).remove())


def orphans(beginning: str) -> list[str]:
    """The labs whose name begins so and that nobody is using or building any more: left by a killed test session."""
    return [name for name in names() if name.startswith(beginning) and State(name).owner() is None]


def processes(name: str) -> list[int]:
    """The processes of a lab, without the calling one and its ancestors."""
    found = dict(_find(name))
    _close(found.values())
    return sorted(found)


def _stop_all(name: str) -> list[int]:
    stopped: list[int] = []
    for number in range(_ROUNDS):  # a process may have started another while we looked
        found = dict(_find(name))
        if not found:
            break
        stopped += found
        try:
            _stop(found.values(), signal.SIGTERM if number == 0 else signal.SIGKILL)
        finally:
            _close(found.values())
    return sorted(set(stopped))


def _stop(handles: Iterable[int], first: signal.Signals) -> None:
    waiting = set(handles)
    for number in (first, signal.SIGKILL):
        for handle in waiting:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                continue  # it ended by itself
        waiting = _still_running(waiting, _PATIENCE)
        if not waiting:
            return


def _still_running(handles: set[int], seconds: float) -> set[int]:
    """The processes that do not end within that time after the last one did."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    waiting = set(handles)
    while waiting:
        ended = poll.poll(seconds * 1000)
        if not ended:
            break
        for handle, _ in ended:
            poll.unregister(handle)
            waiting.discard(handle)
    return waiting


def _find(name: str) -> Iterator[tuple[int, int]]:
    """Each process of the lab and a handle of it, which cannot come to mean another process."""
    mark = f"{MARK}={name}".encode()
    inside = {_identity(namespaces.DIRECTORY / one) for one in namespaces.names(prefix(name))} - {None}
    ours = set(_ancestors(os.getpid()))
    builder = State(name).owner()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in ours:
            continue
        pid = int(entry)
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        if pid == builder or _carries(pid, mark) or _identity(Path(f"/proc/{pid}/ns/net")) in inside:
            yield pid, handle
        else:
            os.close(handle)


def _close(handles: Iterable[int]) -> None:
    for handle in handles:
        os.close(handle)


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    """Which namespace that is; ``None`` when it is none, or gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return
