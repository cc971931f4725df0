"""Which process a netlink socket belongs to: the kernel tells only its port, and whose it is stands in /proc.

port ──/proc/net/netlink──▶ inode ──/proc/PID/fd──▶ process
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_SOCKETS = Path("/proc/thread-self/net/netlink")
_PROCESSES = Path("/proc")
_NETFILTER = "12"
_OTHERS = "a process of another container"


def holder(port: int) -> str:
    """Who has the socket to netfilter with this port, in this thread's network namespace: ``nft (pid 123)``."""
    for inode in _inodes(port):
        for process in _PROCESSES.glob("[0-9]*"):
            if _has(process, f"socket:[{inode}]"):
                return f"{_name(process)} (pid {process.name})"
    return _OTHERS


def _inodes(port: int) -> Iterator[str]:
    for line in _SOCKETS.read_text().splitlines()[1:]:
        _, protocol, number, *_, inode = line.split()
        if (protocol, number) == (_NETFILTER, str(port)):
            yield inode


def _has(process: Path, socket: str) -> bool:
    try:
        return any(str(one.readlink()) == socket for one in (process / "fd").iterdir())
    except OSError:  # it has ended meanwhile, or may not be looked at
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
