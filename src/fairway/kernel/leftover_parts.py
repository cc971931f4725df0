"""The kinds of things that a proxy leaves in the kernel, each with whose it is and how it is removed.

Rules    chains of iptables, and the rules that lead to them
Table    a whole table of nftables
Listed   what is removed one by one: virtual servers, ipsets, addresses, routes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fairway.kernel.nftables import Nftables
from fairway.kernel.xtables import Tools, legacy_tables
from fairway.modes.iptables.leftovers import FAIRWAY, KUBE_PROXY, Address, Leavings, classify, parse, removal
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.tables import TABLE
from fairway.modes.xtables import Family

OWNERS = {TABLE: (FAIRWAY,), "kube-proxy": (KUBE_PROXY,)}
"""Tables of nftables, and whose they are."""


class Part(Protocol):
    """Something that a proxy has left. ``mode`` is empty for what all modes of its owners have."""

    @property
    def kind(self) -> str: ...

    @property
    def owners(self) -> tuple[str, ...]: ...

    @property
    def mode(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def kept(self) -> dict[str, str]:
        """What looks like it and stays, and why."""

    @property
    def addresses(self) -> frozenset[Address]:
        """What its clients asked for."""

    @property
    def how(self) -> str: ...

    @property
    def holder(self) -> str:
        """The process that alone can change it; usually empty."""

    def remove(self) -> None:
        """Raises `CommandFailed`, `KernelRefused` or `OSError`. What is gone meanwhile is no error."""


@dataclass(frozen=True)
class Rules:
    """A proxy's chains in one table of iptables, and the rules in hooks' chains that lead to them."""

    tools: Tools
    family: Family
    leavings: Leavings
    kind: ClassVar[str] = "iptables"
    holder: ClassVar[str] = ""

    @property
    def owners(self) -> tuple[str, ...]:
        return self.leavings.owners

    @property
    def mode(self) -> str:
        return self.leavings.mode

    @property
    def place(self) -> str:
        return f"iptables-{self.tools.variant} {self.family} {self.leavings.table}"

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.leavings.chains, *(f"-A {rule.chain} {rule.text}" for rule in self.leavings.jumps))

    @property
    def kept(self) -> dict[str, str]:
        return dict(self.leavings.kept)

    @property
    def addresses(self) -> frozenset[Address]:
        return self.leavings.addresses

    @property
    def how(self) -> str:
        return f"{self.tools.command(self.family, 'restore')} --noflush"

    def remove(self) -> None:
        """By what is there now, in case somebody has changed it since the plan."""
        now = classify(parse(saved(self.tools, self.family)))
        plan = removal(self.family, (one for one in now if one.table == self.leavings.table))
        if text := plan.text(self.family, self.tools.chains_at_once):
            self.tools.restore(self.family, text)


@dataclass(frozen=True)
class Table:
    """A whole nftables table, which is a proxy's by its name."""

    family: Family
    name: str
    addresses: frozenset[Address]
    holder: str = ""
    kind: ClassVar[str] = "nftables"
    mode: ClassVar[str] = "nftables"

    @property
    def owners(self) -> tuple[str, ...]:
        return OWNERS[self.name]

    @property
    def place(self) -> str:
        return "nftables"

    @property
    def names(self) -> tuple[str, ...]:
        return (f"table {self.family} {self.name}",)

    @property
    def kept(self) -> dict[str, str]:
        return {}

    @property
    def how(self) -> str:
        return f"nft delete table {self.family} {self.name}"

    def remove(self) -> None:
        with Nftables(self.name) as nftables:
            if self.family in nftables.standings():
                nftables.apply(c.Plan((c.DeleteTable(self.family, self.name),)))


@dataclass(frozen=True)
class Listed:
    """A list of things of one kind, removed one by one by ``removing``."""

    kind: str
    owners: tuple[str, ...]
    mode: str
    place: str
    names: tuple[str, ...]
    how: str
    removing: Callable[[], None]
    kept: dict[str, str]
    addresses: frozenset[Address] = frozenset()
    holder: ClassVar[str] = ""

    def remove(self) -> None:
        self.removing()


def saved(tools: Tools, family: Family) -> str:
    """All tables, as the tools print them; of the legacy variant only where there are any, since asking makes them."""
    return "" if tools.variant == "legacy" and not legacy_tables(family) else tools.save(family)
