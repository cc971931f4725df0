"""Hints in proportion to the zones' CPUs, for Services that ask for topology-mode Auto (reference, section 6.2). Pure.

    share of a zone  = its CPUs / all CPUs
    at least         = ceil(share x endpoints / 1.2)      no zone may be overloaded by more than a fifth
    hint             = the endpoint's own zone; some of those in zones with more than enough serve a zone with too few

Where that cannot be done well there are no hints at all, and the reason is told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.objects.cluster import Node

_OVERLOAD = 1.2
_NOT_COUNTED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_UNITS = {"m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class ZoneCPU:
    """The CPUs of each zone, in cores; empty, with the reason, when zones cannot be compared."""

    zones: Mapping[str, float]
    problem: str = ""


class NodeCPUs:
    """Keeps the CPUs of the zones up to date, one node at a time."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[str, float]] = {}
        self._zones: Counter[str] = Counter()
        self._members: Counter[str] = Counter()
        self._unknown = 0

    def set(self, name: str, node: Node | None) -> bool:
        """A node is so now, None for gone; returns whether that changes anything."""
        counted = (
            node is not None and node.ready and not any(one in (node.metadata.labels or {}) for one in _NOT_COUNTED)
        )
        new = (node.zone, cores((node.status.allocatable or {}).get("cpu", ""))) if counted and node else None
        old = self._nodes.get(name)
        if new == old:
            return False
        for sign, facts in ((-1, old), (1, new)):
            if facts is None:
                continue
            zone, cpus = facts
            if not zone or not cpus:
                self._unknown += sign
                continue
            self._zones[zone] += sign * cpus  # type: ignore[assignment]
            self._members[zone] += sign
        if new is None:
            del self._nodes[name]
        else:
            self._nodes[name] = new
        return True

    def zones(self) -> ZoneCPU:
        if self._unknown:
            words = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
            return ZoneCPU({}, words)
        zones = {zone: self._zones[zone] for zone, count in self._members.items() if count}
        if len(zones) < 2:
            return ZoneCPU({}, "Nodes only ready in one zone only")
        return ZoneCPU(zones)


@dataclass(frozen=True)
class Candidate:
    """A ready endpoint: where it is, and for which zone it has been up to now (empty: none)."""

    zone: str
    hinted: str = ""


@dataclass(frozen=True)
class Shares:
    """For which zone each endpoint is; empty, with the reason, when there are no hints."""

    zones: Mapping[object, str]
    problem: str = ""


def share(candidates: Mapping[object, Candidate], cpus: ZoneCPU) -> Shares:
    """Share the ready endpoints of one family out to the zones; keys say which endpoint, in any order."""
    if cpus.problem:
        return Shares({}, cpus.problem)
    count, zones = len(candidates), cpus.zones
    facts = f"({count} endpoints, {len(zones)} zones)"
    if count < len(zones):
        return Shares({}, f"Insufficient number of endpoints {facts}")
    if any(not one.zone for one in candidates.values()):
        return Shares({}, "One or more endpoints do not have a zone specified")
    total = sum(zones.values())
    least = {zone: math.ceil(cpu / total * count / _OVERLOAD) for zone, cpu in zones.items()}
    if sum(least.values()) > count:
        words = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        return Shares({}, f"{words} {facts}")
    return Shares(_balanced(candidates, least))


def cores(quantity: str) -> float:
    """``4``, ``1500m`` as cores; 0 for what is none."""
    unit = quantity[-1:]
    try:
        return float(quantity[:-1]) * _UNITS[unit] if unit in _UNITS else float(quantity)
    except ValueError:
        return 0.0


def _balanced(candidates: Mapping[object, Candidate], least: Mapping[str, int]) -> dict[object, str]:
    """Everybody serves the own zone, but for those that a zone with too few needs."""
    zones = {key: one.zone for key, one in candidates.items()}
    have = Counter(zones.values())
    for needy in sorted(least):
        while have[needy] < least[needy]:
            # Whoever served that zone before goes on doing so: a hint that moves costs a write.
            moved = min(
                (key for key, zone in zones.items() if have[zone] > least.get(zone, 0)),
                key=lambda key: (
                    candidates[key].hinted != needy,
                    least.get(zones[key], 0) - have[zones[key]],
                    str(key),
                ),
            )
            have[zones[moved]] -= 1
            have[needy] += 1
            zones[moved] = needy
    return zones
