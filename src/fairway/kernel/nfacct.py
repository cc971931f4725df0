"""Named counters that iptables rules can count in (nfnetlink_acct), where the kernel has them."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from fairway.kernel.nfnetlink import F_CREATE, F_EXCL, KernelRefused, Netfilter, Request, text

_SUBSYSTEM, _NEW, _NAME = 7, 0, 1


def ensure(names: Iterable[str]) -> bool:
    """Whether these counters are there now; one that was there keeps what it has counted."""
    try:
        with Netfilter() as netlink:
            for name in names:
                _make(netlink, name)
    except (KernelRefused, OSError):
        return False
    return True


def _make(netlink: Netfilter, name: str) -> None:
    try:
        netlink.request(Request(_SUBSYSTEM, _NEW, text(_NAME, name), f"make counter {name}", F_CREATE | F_EXCL))
    except KernelRefused as refused:
        if refused.code not in (errno.EEXIST, errno.EBUSY):
            raise
