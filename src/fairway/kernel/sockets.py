"""Which process a socket belongs to: the kernel tells only its port or its name, and whose it is stands in /proc.

port ──/proc/net/netlink──▶ inode ──/proc/PID/fd──▶ process
name ──/proc/net/unix─────╯
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

_SOCKETS = Path("/proc/thread-self/net/netlink")
_NAMES = Path("/proc/thread-self/net/unix")
_LISTENS = "00010000"
"""The flag of those that take connections; theirs to others have the same name."""
_PROCESSES = Path("/proc")
_NETFILTER = "12"
_OTHERS = "a process of another container"


def holder(port: int) -> str:
    """Who has the socket to netfilter with this port, in this thread's network namespace: ``nft (pid 123)``."""
    return _owner(_netlink_inodes(port))


def holder_of_name(name: str) -> str:
    """Who has the listening socket with this abstract name, in this thread's network namespace."""
    return _owner(_unix_inodes(name.replace("\0", "@")))


def _owner(inodes: Iterable[str]) -> str:
    for inode in inodes:
        for process in _PROCESSES.glob("[0-9]*"):
            if _has(process, f"socket:[{inode}]"):
                return f"{_name(process)} (pid {process.name})"
    return _OTHERS


def _netlink_inodes(port: int) -> Iterator[str]:
    for line in _SOCKETS.read_text().splitlines()[1:]:
        _, protocol, number, *_, inode = line.split()
        if (protocol, number) == (_NETFILTER, str(port)):
            yield inode


def _unix_inodes(name: str) -> Iterator[str]:
    # Names are what anybody likes: bytes that are no text, spaces, ends of lines.
    for line in _NAMES.read_text(errors="replace").split("\n"):
        match line.split(maxsplit=7):
            case [_, _, _, flags, _, _, inode, path] if (path, flags) == (name, _LISTENS):
                yield inode


def _has(process: Path, socket: str) -> bool:
    try:
        return any(str(one.readlink()) == socket for one in (process / "fd").iterdir())
    except OSError:  # it has ended meanwhile, or may not be looked at
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
