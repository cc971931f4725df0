"""ServiceCIDRs as the allocator sees them: which networks addresses come from now, and when one may go.

::

    --service-cluster-ip-range ─▶ ServiceCIDR kubernetes ─┐
                        kubectl ─▶ ServiceCIDR extra ─────┴─▶ Ranges: of each family, with their objects' versions

Who takes an address relies on the version of the ServiceCIDR it comes from: a ServiceCIDR that is being deleted has
another version, so no address can be taken from it behind the back of its deletion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fairway.apiserver.allocation.ranges import Range, Ranges, address_range
from fairway.apiserver.validation.formats import Address, Network, parse_network
from fairway.objects.codec import Document
from fairway.objects.networking import DEFAULT_SERVICE_CIDR, SERVICE_CIDR_FINALIZER


@dataclass(frozen=True)
class ServiceNetwork:
    """One ServiceCIDR: ``key`` and ``revision`` as the storage has them.

    ``ready_condition`` is what its status says; ``terminating`` that it is being deleted, ``waiting`` that it has our
    finalizer.
    """

    key: str
    revision: int
    name: str
    cidrs: tuple[Network, ...]
    created: str
    ready_condition: bool
    terminating: bool
    waiting: bool

    @classmethod
    def of(cls, key: str, revision: int, document: Document) -> ServiceNetwork:
        metadata = document["metadata"]
        conditions = document.get("status", {}).get("conditions", [])
        unready = any(one.get("type") == "Ready" and one.get("status") == "False" for one in conditions)
        cidrs = (parse_network(text) for text in document.get("spec", {}).get("cidrs", []))
        return cls(
            key=key,
            revision=revision,
            name=metadata["name"],
            cidrs=tuple(one for one in cidrs if one is not None),
            created=metadata.get("creationTimestamp", ""),
            ready_condition=not unready,
            terminating=bool(metadata.get("deletionTimestamp")),
            waiting=SERVICE_CIDR_FINALIZER in metadata.get("finalizers", ()),
        )

    @property
    def ready(self) -> bool:
        """Whether addresses may be taken from it."""
        return self.ready_condition and not self.terminating

    @property
    def leaving(self) -> bool:
        """Whether it goes as soon as we let it."""
        return self.terminating and self.waiting

    @property
    def order(self) -> tuple[bool, str, str]:
        """The default first, then the oldest."""
        return self.name != DEFAULT_SERVICE_CIDR, self.created, self.name


def current_ranges(configured: Ranges, networks: Iterable[ServiceNetwork]) -> Ranges:
    """The ranges that the ServiceCIDRs make; those of the configuration while there is no ServiceCIDR at all."""
    found = sorted(networks, key=lambda one: one.order)
    if not found:
        return configured
    families: dict[str, list[Range]] = {family: [] for family in configured.families}
    for network in found:
        for cidr in network.cidrs:
            ranges = families.setdefault(f"IPv{cidr.version}", [])
            if network.ready and all(str(cidr) != one.name for one in ranges):
                ranges.append(replace(address_range(cidr), key=network.key, revision=network.revision))
    return replace(configured, addresses={family: tuple(ranges) for family, ranges in families.items()})


def may_go(leaving: ServiceNetwork, networks: Iterable[ServiceNetwork], held: Iterable[Address]) -> bool:
    """Whether every held address of a ServiceCIDR is also in another one that stays."""
    staying = [cidr for one in networks if one.ready and one.key != leaving.key for cidr in one.cidrs]
    if all(any(_contains(other, cidr) for other in staying) for cidr in leaving.cidrs):
        return True
    return not any(
        any(address in cidr for cidr in leaving.cidrs) and not any(address in cidr for cidr in staying)
        for address in held
    )


def _contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer
