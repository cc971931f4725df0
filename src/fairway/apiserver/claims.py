"""Claims: the keys that make a cluster IP or a node port belong to one Service.

A claim is a key in the storage (``/allocations/ip/10.96.0.7``), written in the transaction that writes the Service.
That the key can exist once is what makes a duplicate impossible; the `Ledger` only spares allocators from guessing.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.objects.codec import Document, encode

_PREFIX = "/allocations/"


def claim_key(claim: str) -> str:
    """``ip/10.96.0.7`` as the key that holds it."""
    return _PREFIX + claim


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


class Ledger:
    """What is claimed, as far as this process knows (`fairway.apiserver.strategy.Taken`)."""

    def __init__(self) -> None:
        self._claims: set[str] = set()

    def learn(self, keys: Iterable[str]) -> None:
        """Note the claims among some storage keys."""
        self._claims.update(key.removeprefix(_PREFIX) for key in keys if key.startswith(_PREFIX))

    def claim(self, claims: Iterable[str]) -> None:
        self._claims.update(claims)

    def release(self, claims: Iterable[str]) -> None:
        self._claims.difference_update(claims)

    def address(self, address: str) -> bool:
        return f"ip/{address}" in self._claims

    def port(self, port: int) -> bool:
        return f"port/{port}" in self._claims
