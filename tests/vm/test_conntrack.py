"""`fairway.kernel.conntrack` on a kernel that cannot delete flows by a filter: 6.1, as Debian 12 has it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from fairway.kernel.command import run
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace, created

pytestmark = pytest.mark.vm

THERE = "192.0.2.7"


@pytest.fixture
def place() -> Iterator[NetworkNamespace]:
    """A namespace that translates UDP to port 7003 in turn to two addresses."""
    for module in ("nf_conntrack_netlink", "iptable_nat", "xt_nat", "xt_statistic", "xt_tcpudp"):
        run(["modprobe", module])
    with created("conntrack") as made:
        with Links(made) as links:
            links.set_up("lo")
            links.add_address("lo", f"{THERE}/32")
        rule = ["iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "7003"]
        every_second = ["-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0"]
        run([*rule, *every_second, "-j", "DNAT", "--to", "127.0.0.1:7001"], namespace=made)
        run([*rule, "-j", "DNAT", "--to", "127.0.0.2:7001"], namespace=made)
        yield made


@pytest.mark.parametrize("count", [3, 250], ids=["few", "many"])
def test_exactly_the_flows_at_one_backend_are_forgotten(place: NetworkNamespace, count: int) -> None:
    with place.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        for source in range(20000, 20000 + 2 * count):
            raw.sendto(struct.pack("!HHHH", source, 7003, 8, 0), (THERE, 0))
    with place.run(Conntrack) as table:
        assert len(table.flows(Match("UDP", THERE, 7003))) == 2 * count
        assert table.forget(Match("UDP", THERE, 7003, "127.0.0.1", 7001)) == count
        assert {one.reply_source for one in table.flows(Match("UDP"))} == {"127.0.0.2"}
        assert table.flushes is False
