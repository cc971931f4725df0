"""kube-proxy's feature gates: which mean something here, and what is said about the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

EXTERNAL_IPS = "AllowServiceExternalIPs"
FLAGZ, STATUSZ = "ComponentFlagz", "ComponentStatusz"

_COUNT = (EXTERNAL_IPS, FLAGZ, STATUSZ)
_LOCKED = (
    "MultiCIDRServiceAllocator",
    "NFTablesProxyMode",
    "PreferSameTrafficDistribution",
    "WinDSR",
    "WinOverlay",
)
_DEFAULTS = {"ContextualLogging": True}


def problems(gates: Mapping[str, bool]) -> Iterator[str]:
    """Gates that the reference locks and somebody wants otherwise."""
    for name in _LOCKED:
        if not gates.get(name, True):
            yield f"{name} cannot be false: it is locked to true since it became a part of Kubernetes"


def notes(gates: Mapping[str, bool]) -> Iterator[str]:
    """Gates that are taken and do nothing here."""
    for name, value in sorted(gates.items()):
        if name not in (*_COUNT, *_LOCKED) and value != _DEFAULTS.get(name):
            yield f"{name}={str(value).lower()} has no effect: Fairway has no such gate"


def all_of_them(gates: Mapping[str, bool]) -> dict[str, bool]:
    """Those that count here, and those that are locked, with their values."""
    return {name: is_on(gates, name) for name in sorted((*_COUNT, *_LOCKED))}


def is_on(gates: Mapping[str, bool], name: str) -> bool:
    """Of those that count here, which are all on by default."""
    return gates.get(name, True)
