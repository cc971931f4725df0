"""The ipvs mode's iptables rules in this thread's network namespace, by iptables' own tools.

They are constant: a process is started when a proxy starts and when somebody else has changed them, not for Services.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairway.kernel.xtables import Sizes, Tools, open_tools
from fairway.modes.ipvs.rules import CHAINS
from fairway.modes.xtables import TABLES, Family, State, read_saved


@dataclass(frozen=True)
class IpvsRules:
    """One variant's rules."""

    tools: Tools
    _seen: dict[Family, tuple[Sizes, State]] = field(default_factory=dict)

    @property
    def families(self) -> tuple[Family, ...]:
        return self.tools.families

    def read(self) -> dict[Family, State]:
        """Our chains, and the rules in hooks' chains that lead to them. Raises `CommandFailed`.

        Of the legacy variant, a table that has as many rules and bytes as when it was read is not read again.
        """
        return {family: self._read(family) for family in self.families}

    def sizes(self) -> dict[Family, Sizes]:
        """Of the legacy variant: how much each table holds."""
        return {family: self._sizes(family) for family in self.families}

    def _sizes(self, family: Family) -> Sizes:
        return self.tools.sizes(family, TABLES) if self.tools.variant == "legacy" else ()

    def _read(self, family: Family) -> State:
        sizes = self._sizes(family)
        if not sizes or family not in self._seen or self._seen[family][0] != sizes:
            self._seen[family] = (sizes, read_rules(self.tools.save(family)))
        return dict(self._seen[family][1])

    def restore(self, family: Family, text: str) -> None:
        """Raises `CommandFailed`."""
        self._seen.pop(family, None)
        self.tools.restore(family, text)

    def check(self, family: Family, text: str) -> None:
        """Whether it would be done. Raises `CommandFailed`."""
        self.tools.restore(family, text, test=True)


def read_rules(saved: str) -> State:
    """What `iptables-save` prints, as far as it is ours; a chain that is there and empty is there."""
    return read_saved(saved, CHAINS.__contains__)


def open_rules() -> IpvsRules:
    """The variant in use. Raises `LookupError` with a sentence when there is none, or none works."""
    return IpvsRules(open_tools())
