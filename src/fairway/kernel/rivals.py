"""Rules of kube-proxy's in this thread's network namespace, which would serve Services beside those of ours.

nft variant, mode nftables    the kernel is asked for one chain, one table by name
legacy variant                its own tool is asked, where the kernel has such a table at all
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator

from fairway.kernel import nftables_codec as codec
from fairway.kernel.attributes import text
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.nfnetlink import KernelRefused, Netfilter, Request
from fairway.kernel.xtables import legacy_tables
from fairway.modes.xtables import FAMILIES, KUBE_SERVICES, Family

_LEGACY_TOOLS: dict[Family, str] = {"ip": "iptables-legacy", "ip6": "ip6tables-legacy"}
_NOBODY = (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)


def rival_rules() -> list[str]:
    """What of kube-proxy's is there, such as ``chain KUBE-SERVICES (iptables-nft, ip)``; usually nothing.

    Raises OSError and `KernelRefused` when the kernel does not tell.
    """
    with Netfilter() as netlink:
        found = [*_of_nftables(netlink)]
    return [*found, *_of_legacy()]


def _of_nftables(netlink: Netfilter) -> Iterator[str]:
    for family in FAMILIES:
        chain = codec.request(
            codec.GET_CHAIN, family, text(1, "nat") + text(3, KUBE_SERVICES), f"get chain {KUBE_SERVICES}"
        )
        if _is_there(netlink, chain):
            yield f"chain {KUBE_SERVICES} (iptables-nft, {family})"
        table = codec.request(codec.GET_TABLE, family, text(1, "kube-proxy"), "get table kube-proxy")
        if _is_there(netlink, table):
            yield f"table {family} kube-proxy (nftables)"


def _is_there(netlink: Netfilter, asked: Request) -> bool:
    try:
        netlink.get(asked)
    except KernelRefused as refused:
        if refused.code in _NOBODY:
            return False
        raise
    return True


def _of_legacy() -> Iterator[str]:
    for family in FAMILIES:
        if "nat" not in legacy_tables(family) or not shutil.which(_LEGACY_TOOLS[family]):
            continue
        try:
            run([_LEGACY_TOOLS[family], "-t", "nat", "-S", KUBE_SERVICES, "1"])
        except CommandFailed:
            continue  # the tool found no such chain
        yield f"chain {KUBE_SERVICES} (iptables-legacy, {family})"
