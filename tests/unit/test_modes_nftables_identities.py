"""What session affinity remembers backends by."""

from __future__ import annotations

from fairway.modes.nftables.identities import identity
from fairway.modes.nftables.tables import backend_bytes


def test_an_identity_depends_on_the_backend_alone() -> None:
    one, other = (backend_bytes("10.244.1.2", port) for port in (80, 81))
    assert identity(one) == 0xB9F3731F  # what nodes have in their kernels: a new version must not forget their clients
    assert identity(one) != identity(other)


def test_no_two_backends_get_one_identity() -> None:
    backend = backend_bytes("10.244.1.2", 80)
    first = identity(backend)
    second = identity(backend, {first})
    assert len({first, second, identity(backend, {first, second})}) == 3
    assert second & 0xFFFF
    assert second >> 16
