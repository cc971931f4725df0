"""What can be seen of the ipvs mode at a glance, and what it must look like after a change of ours.

a look ──▶ Footprint ──command──▶ Footprint ──command──▶ Footprint  ═?═  the next look, seconds later
                                                                     ╰─ no: somebody else has changed something

A change costs what it touches; only a look, which nobody waits for, counts everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import Weights, read_weights, shown_place, shown_server
from fairway.kernel.ipvs_rules import IpvsRules
from fairway.kernel.xtables import Sizes
from fairway.modes.ipvs.parts import Entry, Marked, Real, Virtual, sets
from fairway.modes.ipvs.plan import Add, AddSet, Change, Command, Remove, RemoveSet
from fairway.modes.xtables import Family


@dataclass
class Footprint:
    """Weights of real servers, how many entries each set of ours has, and of the legacy variant how much each table
    holds."""

    weights: Weights
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
                self.weights.pop(shown_server(virtual), None)
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
        virtual, place = shown_server(real.virtual), shown_place(real.address, real.port)
        there = self.weights.setdefault(virtual, {})
        if weight is None:
            there.pop(place, None)
        else:
            there[place] = weight
        if not there:
            del self.weights[virtual]


def look(ipset: Ipset, rules: IpvsRules, weights: Weights | None = None) -> Footprint:
    """As it is now, in this thread's namespace; ``weights`` when they are known already. Raises as they do."""
    weights = read_weights() if weights is None else weights
    ours = {name for family in rules.families for name in sets(family)}
    sizes = {name: size for name, size in ipset.sizes().items() if name in ours}
    return Footprint(weights, sizes, rules.sizes())
