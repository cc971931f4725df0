"""What can be seen of the ipvs mode at a glance, and what it must look like after a change of ours.

a look ──▶ Footprint ──command──▶ Footprint ──command──▶ Footprint  ═?═  the next look, seconds later
                                                                     ╰─ no: somebody else has changed something

A change costs what it touches; only a look, which nobody waits for, counts everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import real_servers
from fairway.kernel.ipvs_rules import IpvsRules
from fairway.kernel.xtables import Sizes
from fairway.modes.ipvs.parts import Entry, Marked, Real, Server, Virtual, sets
from fairway.modes.ipvs.plan import Add, AddSet, Change, Command, Remove, RemoveSet
from fairway.modes.xtables import Family


@dataclass
class Footprint:
    """Weights of the real servers of each virtual one, how many entries each set of ours has, and of the legacy
    variant how much each table holds."""

    weights: dict[Server, dict[Real, int]]
    sizes: dict[str, int]
    rules: dict[Family, Sizes]

    def follow(self, command: Command) -> None:
        """What one command does to it; those about rules are `look`'s business."""
        match command:
            case Add(Real() as real, int(weight)) | Change(Real() as real, int(weight)):
                self.put(real, weight)
            case Remove(Real() as real):
                self.put(real, None)
            case Remove(Virtual() | Marked() as virtual):
                self.weights.pop(virtual, None)
            case Add(Entry() as entry, _):
                self.sizes[entry.set] = self.sizes.get(entry.set, 0) + 1
            case Remove(Entry() as entry):
                self.sizes[entry.set] = self.sizes.get(entry.set, 0) - 1
            case AddSet(declared):
                self.sizes[declared.name] = 0
            case RemoveSet(declared):
                self.sizes.pop(declared.name, None)

    def put(self, real: Real, weight: int | None) -> None:
        """A real server has this weight now, or (None) is gone."""
        there = self.weights.setdefault(real.virtual, {})
        if weight is None:
            there.pop(real, None)
        else:
            there[real] = weight
        if not there:
            del self.weights[real.virtual]


def look(ipset: Ipset, rules: IpvsRules) -> Footprint:
    """As it is now, in this thread's namespace. Raises as they do."""
    weights: dict[Server, dict[Real, int]] = {}
    for real, there in real_servers().items():
        weights.setdefault(real.virtual, {})[real] = there.weight
    ours = {name for family in rules.families for name in sets(family)}
    sizes = {name: size for name, size in ipset.sizes().items() if name in ours}
    return Footprint(weights, sizes, rules.sizes())
