"""Under load no established connection is lost: rules flushed, the proxy killed, its tables an earlier version's.

The connections of these tests are in mid-conversation: each has a word on its way whenever something happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fairway.kernel.command import run
from fairway.kernel.nftables import Nftables
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.model.view import NodeSettings
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.modes.nftables.commands import DeleteTable
from tests.kernel.loaded_node import DNS_VIP, PORT, World, load, loaded_node, nobody_noticed
from tests.kernel.proxy_world import NODE, VIP, Proxy, nft, until

pytestmark = pytest.mark.kernel

FLUSHES = 12
MODE = NftablesMode()
NOT_OWNED = "--nftables-own-tables=false"
# What a version before this one may have left: a table of our name, with a set and a chain of our names that are of
# other kinds, one chain and one set that are not ours any more, and rules for each Service.
EARLIER = """
delete table ip fairway
table ip fairway {{
  set frontends {{ type inet_service; elements = {{ 80 }} }}
  set endpoints-of-yesterday {{ type ipv4_addr; elements = {{ {one}, {two} }} }}
  chain services {{
    ip daddr {vip} tcp dport @frontends dnat to numgen random mod 2 map {{ 0 : {one}, 1 : {two} }} : {port}
    ip daddr {dns} udp dport 80 dnat to numgen random mod 2 map {{ 0 : {one}, 1 : {two} }} : {port}
  }}
  chain prerouting {{ type nat hook prerouting priority -90; jump services; }}
  chain leave {{
    type nat hook postrouting priority 90; ip saddr @endpoints-of-yesterday ip daddr 192.0.2.1 masquerade;
  }}
}}
"""


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    return make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("one", "two", "shell")]))


@pytest.fixture
def world(network: RunningNetwork, tmp_path: Path) -> Iterator[World]:
    with loaded_node(network, tmp_path) as made:
        yield made


def test_flushes_by_others_and_the_proxys_own_end_are_noticed_by_nobody(world: World, network: RunningNetwork) -> None:
    with ExitStack() as stack:
        running: Proxy = stack.enter_context(world.proxy())
        clients = stack.enter_context(load(network, chatty=True))
        for end in (Proxy.kill, Proxy.stop):
            for _ in range(FLUSHES):
                world.flush()
                clients.go_round()
            end(running)
            clients.go_round()
            running = stack.enter_context(world.proxy())
        assert running.said().count("it held all of it already") == 2
        assert "put back" not in running.said()
        assert running.status()["tables"] == {"owned": True, "why": ""}
        clients.go_round()
    nobody_noticed(clients)


def test_a_table_of_an_earlier_version_becomes_todays_and_nobody_notices(world: World, network: RunningNetwork) -> None:
    with ExitStack() as stack:
        first: Proxy = stack.enter_context(world.proxy())
        todays = nft(world.node, "list", "table", "ip", "fairway")
        clients = stack.enter_context(load(network, chatty=True))
        assert first.stop() == 0
        one, two = world.backends
        earlier = EARLIER.format(vip=VIP, dns=DNS_VIP, one=one, two=two, port=PORT)
        run(["nft", "-f", "-"], namespace=world.node, input=earlier)
        clients.go_round()
        stack.enter_context(world.proxy())
        assert nft(world.node, "list", "table", "ip", "fairway") == todays
        clients.go_round()
    nobody_noticed(clients, replacements=2)


def test_tables_that_nobody_could_own_are_replaced_and_nobody_notices(world: World, network: RunningNetwork) -> None:
    """As the version before had made them; and then again and again, by one transaction each time."""
    with ExitStack() as stack:
        before: Proxy = stack.enter_context(world.proxy(NOT_OWNED))
        assert before.status()["tables"]["owned"] is False
        clients = stack.enter_context(load(network, chatty=True))
        assert before.stop() == 0
        running: Proxy = stack.enter_context(world.proxy())
        assert running.status()["tables"]["owned"] is True
        running.kill()
        with world.node.run(Nftables) as kernel:
            kernel.take()
            held = Program(kernel.read(), NodeSettings(name=NODE))
            deletions = tuple(DeleteTable(family, "fairway") for family in held.base)
            replacement = Plan((*deletions, *MODE.plan(MODE.empty(), held).commands))
            for _ in range(FLUSHES):
                kernel.apply(replacement)
                clients.go_round()
    nobody_noticed(clients, replacements=1 + FLUSHES)


def test_a_flush_of_all_rules_ends_no_connection_and_keeps_out_newcomers_only_until_they_are_back(
    world: World, network: RunningNetwork
) -> None:
    with ExitStack() as stack:
        running: Proxy = stack.enter_context(world.proxy(NOT_OWNED))
        clients = stack.enter_context(load(network))
        with clients.between_words:
            began = time.monotonic()
            world.flush()
        until(world.node, lambda: "put back" in running.said(), "the log tells of a repair")
        ended = time.monotonic()
        clients.go_round()
    took = (ended - began) * 1000
    print(f"the rules were back after {took:.0f} ms; {len(clients.failed)} newcomers failed")
    assert clients.lost == []
    assert [one for one in clients.failed if one[0] > ended or one[1] < began] == []
    assert clients.arrived > 0
