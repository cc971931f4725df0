"""No two pods have one address, and a pod keeps its own."""

from __future__ import annotations

import pytest

from fairway.lab.addresses import PodAddresses
from fairway.lab.errors import LabError
from fairway.lab.topology import cluster


def test_each_pod_gets_the_next_address_of_its_node() -> None:
    addresses = PodAddresses(cluster(nodes=2))
    assert [addresses.allocate("node-1", owner) for owner in "abc"] == ["10.244.1.2", "10.244.1.3", "10.244.1.4"]
    assert addresses.allocate("node-2", "d") == "10.244.2.2"


def test_asking_again_gives_the_same_address() -> None:
    addresses = PodAddresses(cluster(nodes=1))
    assert addresses.allocate("node-1", "a") == addresses.allocate("node-1", "a")


def test_a_freed_address_is_the_last_to_be_used_again() -> None:
    addresses = PodAddresses(cluster(nodes=1))
    first = addresses.allocate("node-1", "a")
    addresses.release("node-1", "a")
    others = [addresses.allocate("node-1", f"pod-{i}") for i in range(252)]
    assert others[-1] == first
    assert len(set(others)) == 252


def test_a_full_node_says_so_and_has_room_again_when_a_pod_goes() -> None:
    addresses = PodAddresses(cluster(nodes=1))
    for number in range(252):
        addresses.allocate("node-1", str(number))
    with pytest.raises(LabError, match=r"node-1 has no address left .* 252 pods fill its network 10\.244\.1\.0/24"):
        addresses.allocate("node-1", "one more")
    addresses.release("node-1", "7")
    assert addresses.allocate("node-1", "one more") == "10.244.1.9"


def test_an_address_from_before_is_kept_unless_somebody_has_it() -> None:
    addresses = PodAddresses(cluster(nodes=1))
    assert addresses.reserve("node-1", "a", "10.244.1.7")
    assert addresses.reserve("node-1", "a", "10.244.1.7")
    assert not addresses.reserve("node-1", "b", "10.244.1.7")
    assert not addresses.reserve("node-1", "b", "10.244.1.254")
    assert not addresses.reserve("node-1", "b", "192.0.2.1")
    assert addresses.allocate("node-1", "a") == "10.244.1.7"


def test_releasing_what_nobody_has_changes_nothing() -> None:
    addresses = PodAddresses(cluster(nodes=1))
    addresses.release("node-1", "nobody")
    assert addresses.allocate("node-1", "a") == "10.244.1.2"
