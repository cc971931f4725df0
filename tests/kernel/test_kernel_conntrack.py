"""`fairway.kernel.conntrack` against the real kernel."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fairway.kernel.command import run
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace, created

pytestmark = pytest.mark.kernel

HERE, THERE = {"IPv4": "127.0.0.1", "IPv6": "::1"}, {"IPv4": "192.0.2.7", "IPv6": "2001:db8::7"}
KINDS = {"UDP": socket.SOCK_DGRAM, "TCP": socket.SOCK_STREAM}

# A rule that asks for the state of a connection is what makes the kernel track any.
TRACKING = """
table inet tracking { chain output { type filter hook output priority 0; ct state new accept; }; }
table ip translating { chain output { type nat hook output priority -100;
  ip daddr 192.0.2.7 udp dport 7003 dnat to numgen inc mod 2 map { 0: 127.0.0.1, 1: 127.0.0.2 }:7001; }; }
"""


@pytest.fixture
def place(machine_for_labs: None) -> Iterator[NetworkNamespace]:
    """A namespace that tracks connections, with servers for UDP and TCP on the ports 7001 and 7002 of all addresses."""
    with created(f"pytest-{os.getpid()}-conntrack") as made, ExitStack() as stack:
        with Links(made) as links:
            links.set_up("lo")
            links.add_address("lo", f"{THERE['IPv4']}/32")
            links.add_address("lo", f"{THERE['IPv6']}/128")
        run(["nft", "-f", "-"], namespace=made, input=TRACKING)
        for kind in KINDS.values():
            for port in (7001, 7002):
                server = stack.enter_context(made.socket(socket.AF_INET6, kind))
                server.bind(("::", port))
                if kind == socket.SOCK_STREAM:
                    server.listen()
        yield made


@pytest.fixture
def table(place: NetworkNamespace) -> Iterator[Conntrack]:
    with place.run(Conntrack) as found:
        yield found


def crowd(place: NetworkNamespace, address: str, port: int, count: int) -> None:
    """Let so many clients send something there, each from a port of its own."""
    with place.socket(
        socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP
    ) as raw:
        for source in range(20000, 20000 + count):
            raw.sendto(struct.pack("!HHHH", source, port, 8, 0), (address, 0))


def talk(place: NetworkNamespace, protocol: str, address: str, port: int) -> int:
    """Let a client send something there; returns its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with place.socket(family, KINDS[protocol]) as client:
        client.connect((address, port))
        client.send(b"hello")
        return int(client.getsockname()[1])


@pytest.mark.reference("7.4 TestConntracker_DeleteEntries, TestFlowFilter")
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_flows_are_found_by_protocol_and_by_destination(place: NetworkNamespace, table: Conntrack, family: str) -> None:
    client = talk(place, "UDP", THERE[family], 7001)
    talk(place, "UDP", THERE[family], 7002)
    talk(place, "UDP", HERE[family], 7001)
    talk(place, "TCP", THERE[family], 7001)
    assert {(one.destination, one.port) for one in table.flows(Match("UDP"))} == {
        (THERE[family], 7001),
        (THERE[family], 7002),
        (HERE[family], 7001),
    }
    (found,) = table.flows(Match("UDP", THERE[family], 7001))
    assert (found.source_port, found.reply_source, found.reply_port) == (client, THERE[family], 7001)
    assert [one.port for one in table.flows(Match("TCP"))] == [7001]


def test_who_answers_is_told_when_it_is_not_who_was_asked(place: NetworkNamespace, table: Conntrack) -> None:
    talk(place, "UDP", THERE["IPv4"], 7003)
    (found,) = table.flows(Match("UDP", THERE["IPv4"], 7003))
    assert (found.reply_source, found.reply_port) == ("127.0.0.1", 7001)


@pytest.mark.reference("7.4 TestConntracker_DeleteEntries, TestFlowFilter")
def test_exactly_the_named_flows_are_forgotten_and_those_that_left_are_not_counted(
    place: NetworkNamespace, table: Conntrack
) -> None:
    for port in (7001, 7002):
        talk(place, "UDP", THERE["IPv4"], port)
    gone = table.flows(Match("UDP", THERE["IPv4"], 7002))
    assert table.delete(gone) == 1
    assert table.delete(gone) == 0
    assert [one.port for one in table.flows(Match("UDP"))] == [7001]


@pytest.mark.parametrize("count", [5, 400], ids=["few", "many"])
@pytest.mark.parametrize("flushes", [None, False], ids=["as this kernel can", "without deletion by a filter"])
def test_flows_at_one_backend_are_forgotten_and_the_others_stay(
    place: NetworkNamespace, table: Conntrack, count: int, flushes: bool | None
) -> None:
    table.flushes = flushes
    for port in (7001, 7003):
        crowd(place, THERE["IPv4"], port, count * 2)
    assert table.forget(Match("UDP", THERE["IPv4"], 7003, "127.0.0.2", 7001)) == count
    left = table.flows(Match("UDP"))
    assert {one.reply_source for one in left if one.port == 7003} == {"127.0.0.1"}
    assert (len(left), len(table.flows(Match("UDP", THERE["IPv4"], 7001)))) == (count * 3, count * 2)
    assert table.forget(Match("UDP", THERE["IPv4"], 7003, "127.0.0.2", 7001)) == 0


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_all_flows_to_one_place_are_forgotten_and_the_others_stay(
    place: NetworkNamespace, table: Conntrack, family: str
) -> None:
    for address, port in ((THERE[family], 7001), (THERE[family], 7002), (HERE[family], 7001)):
        crowd(place, address, port, 300)
    assert table.forget(Match("UDP", THERE[family], 7001)) == 300
    left = {(one.destination, one.port) for one in table.flows(Match("UDP"))}
    assert left == {(THERE[family], 7002), (HERE[family], 7001)}
    assert table.forget(Match("TCP", THERE[family], 7001)) == 0
    assert table.forget(Match("UDP")) == 600


def test_a_kernel_that_cannot_delete_by_a_filter_is_found_out_without_losing_a_flow(
    place: NetworkNamespace, table: Conntrack
) -> None:
    talk(place, "UDP", THERE["IPv4"], 7001)
    assert table.forget(Match("UDP", "192.0.2.99", 7001)) == 0
    assert table.flushes is not None
    assert len(table.flows(Match("UDP"))) == 1
