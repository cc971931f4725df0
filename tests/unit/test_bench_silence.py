"""Unit tests of `fairway.bench.silence`: what it reads; the whole is tested with a Service that falls silent."""

from __future__ import annotations

from fairway.bench.silence import counted

STATISTICS = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 0 17 18
IpExt: InNoRoutes ListenOverflows
IpExt: 3 5
"""


def test_a_counter_is_found_by_its_group_and_name() -> None:
    assert counted(STATISTICS, "TcpExt", "ListenOverflows") == 17
    assert counted(STATISTICS, "IpExt", "InNoRoutes") == 3


def test_what_a_kernel_does_not_count_is_nothing() -> None:
    assert counted(STATISTICS, "TcpExt", "TCPWantsMore") == 0
    assert counted(STATISTICS, "MPTcpExt", "ListenOverflows") == 0
