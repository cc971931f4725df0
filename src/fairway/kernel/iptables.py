"""The iptables mode's chains in what iptables' tools print."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.modes.iptables.names import FIREWALL, OTHER_PORTS, is_ours
from fairway.modes.xtables import HOOKS, State, read_saved


def read_rules(saved: str) -> State:
    """What `iptables-save` prints, as far as it is this mode's, or kube-proxy's."""
    return read_saved(saved, lambda place: is_ours(place.chain))


def holds(states: Iterable[State], *, flat: bool) -> bool:
    """Whether rules of ours are there; in the flat form, those of any kube-proxy, but not what the kubelet has too."""
    chains = {place.chain for state in states for place in state}
    return bool(chains - {FIREWALL, *HOOKS}) if flat else OTHER_PORTS in chains
