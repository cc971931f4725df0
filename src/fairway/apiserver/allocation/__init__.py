"""The addresses and ports of Services: who gets which, and what comes free again.

::

    old, new ─▶ carried over ─▶ families ─▶ addresses ─▶ ports ─▶ dropped ─▶ document, claims, releases
                (changes)       (families)  (service)             (changes)

`ServiceAllocator` is the whole of it; `Ledger` knows what is taken and finds what is free; `Ranges` is where it
comes from: what the cluster was configured with, and what its ServiceCIDRs say (``networks``). Nothing here writes: the
claims and releases are written in one transaction with the Service, so a crash can neither leak an address nor give it
twice.
"""

from fairway.apiserver.allocation.ledger import Ledger, Rest
from fairway.apiserver.allocation.networks import ServiceNetwork, current_ranges, may_go
from fairway.apiserver.allocation.ranges import Ranges
from fairway.apiserver.allocation.service import ServiceAllocator, claims_of

__all__ = [
    "Ledger",
    "Ranges",
    "Rest",
    "ServiceAllocator",
    "ServiceNetwork",
    "claims_of",
    "current_ranges",
    "may_go",
]
