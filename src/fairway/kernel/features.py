"""What this kernel can do for Services, found out by asking it: a batch that is checked and never committed."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from fairway.kernel.nfnetlink import KernelRefused
from fairway.kernel.nftables import Nftables
from fairway.model.view import NodeSettings
from fairway.modes.nftables.commands import Plan
from fairway.modes.nftables.plan import plan
from fairway.modes.nftables.program import Program
from fairway.modes.nftables.ruleset import AFFINITY, base
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import FAMILIES, Family

_HELP = {
    errno.EPERM: "run it as root, or with CAP_NET_ADMIN",
    errno.EAFNOSUPPORT: "the kernel needs nf_tables for this family (CONFIG_NF_TABLES_IPV4, CONFIG_NF_TABLES_IPV6)",
    errno.EOPNOTSUPP: "the kernel needs nf_tables for this family (CONFIG_NF_TABLES_IPV4, CONFIG_NF_TABLES_IPV6)",
    errno.EPROTONOSUPPORT: "the kernel needs netfilter's netlink (CONFIG_NETFILTER_NETLINK)",
    errno.EINVAL: "the kernel needs nf_tables (CONFIG_NF_TABLES)",
    errno.ENOENT: "the kernel lacks what the named rule uses (the modules nft_nat, nft_masq, nft_numgen …)",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing a mode needs. ``because`` says what failed and what helps, and is empty when it works."""

    name: str
    because: str = ""

    @property
    def works(self) -> bool:
        return not self.because


def nftables_features() -> tuple[Feature, ...]:
    """Whether the nftables mode works in this thread's network namespace, for each family."""
    try:
        with Nftables() as kernel:
            return tuple(_family(kernel, family) for family in FAMILIES)
    except OSError as error:
        because = f"netlink to netfilter cannot be opened: {error.strerror}; {_help(error.errno or 0)}"
        return tuple(Feature(f"nftables {family}", because) for family in FAMILIES)


def _family(kernel: Nftables, family: Family) -> Feature:
    name = f"nftables {family}"
    try:
        kernel.check(everything(family))
    except KernelRefused as refused:
        return Feature(name, f"{refused.refusals[0]}; {_help(refused.code)}")
    return Feature(name)


def everything(family: Family) -> Plan:
    """A Plan that makes a table with every kind of rule there is, under a name that nobody uses."""
    settings = NodeSettings(name="probe")
    table = base(settings)[family]
    chains = {chain.name: chain for number in (1, AFFINITY + 1) for chain in structure(family, number).chains}
    probe = table._replace(name="fairway-probe", chains={**table.chains, **chains})
    return plan(Program({}, settings), Program({family: probe}, settings, numbers={}))


def _help(code: int) -> str:
    return _HELP.get(code, "see the kernel's log")
