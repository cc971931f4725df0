"""Named counters that iptables rules can count in (nfnetlink_acct), where the kernel has them."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from fairway.kernel.attributes import attributes, number, text
from fairway.kernel.nfnetlink import F_CREATE, F_EXCL, KernelRefused, Netfilter, Request

_SUBSYSTEM, _NEW, _GET = 7, 0, 1
_NAME, _PACKETS = 1, 2


def ensure(names: Iterable[str]) -> bool:
    """Whether these counters are there now; one that was there keeps what it has counted."""
    try:
        with Netfilter() as netlink:
            for name in names:
                _make(netlink, name)
    except (KernelRefused, OSError):
        return False
    return True


def packets(name: str) -> int:
    """How many a counter has seen; 0 where there is none."""
    try:
        with Netfilter() as netlink:
            reply = netlink.get(Request(_SUBSYSTEM, _GET, text(_NAME, name), f"read counter {name}"))
    except (KernelRefused, OSError):
        return 0
    return number(attributes(reply.body).get(_PACKETS, b"\0"))


def _make(netlink: Netfilter, name: str) -> None:
    try:
        netlink.request(Request(_SUBSYSTEM, _NEW, text(_NAME, name), f"make counter {name}", F_CREATE | F_EXCL))
    except KernelRefused as refused:
        if refused.code not in (errno.EEXIST, errno.EBUSY):
            raise
