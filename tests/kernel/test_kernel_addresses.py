"""`fairway.kernel.addresses` against the real kernel."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from fairway.kernel.addresses import Addresses
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace, created

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(machine_for_labs: None) -> Iterator[NetworkNamespace]:
    """A namespace with a loopback link that is up."""
    with created(f"pytest-{os.getpid()}-addresses") as made:
        with Links(made) as links:
            links.set_up("lo")
        yield made


def test_every_address_of_both_families_is_listed(place: NetworkNamespace) -> None:
    with place.run(Addresses) as addresses, Links(place) as links:
        links.add_address("lo", "192.0.2.7/32")
        links.add_address("lo", "2001:db8::7/128")
        assert set(addresses.list()) == {"127.0.0.1", "192.0.2.7", "::1", "2001:db8::7"}


def test_a_thousand_addresses_come_in_many_messages(place: NetworkNamespace) -> None:
    with place.run(Addresses) as addresses, Links(place) as links:
        wanted = {f"198.18.{n // 256}.{n % 256}" for n in range(1000)}
        for one in wanted:
            links.add_address("lo", f"{one}/32")
        assert wanted <= set(addresses.list())


def test_word_comes_when_an_address_comes_or_goes_and_not_before(place: NetworkNamespace) -> None:
    with place.run(Addresses) as addresses, Links(place) as links:
        addresses.drain()
        assert not select.select([addresses], [], [], 0)[0]
        for change in (links.add_address, links.delete_address):
            change("lo", "192.0.2.7/32")
            assert select.select([addresses], [], [], 30)[0]
            addresses.drain()
            assert not select.select([addresses], [], [], 0)[0]
