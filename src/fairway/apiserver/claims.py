"""Claims: the keys that make a cluster IP or a node port belong to one Service.

A claim is a key in the storage (``/allocations/ip/10.96.0.7``), written in the transaction that writes the Service.
That the key can exist once is what makes a duplicate impossible; the `allocation.Ledger` only spares allocators from
guessing.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.objects.codec import Document, encode

PREFIX = "/allocations/"


def claim_key(claim: str) -> str:
    """``ip/10.96.0.7`` as the key that holds it."""
    return PREFIX + claim


def claim_value(document: Document) -> bytes:
    """Who holds a claim, for a person who looks into the storage."""
    metadata = document["metadata"]
    return encode(
        {
            "kind": document["kind"],
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
    )


def claims_in(keys: Iterable[str]) -> frozenset[str]:
    """The claims among some storage keys."""
    return frozenset(key.removeprefix(PREFIX) for key in keys if key.startswith(PREFIX))
