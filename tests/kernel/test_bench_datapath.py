"""The benchmarks of packets, and of any proxy by its command line; how fast that was is not this test's business."""

from __future__ import annotations

import os
import sys

import pytest

from fairway.bench import answering
from fairway.bench.datapath import Traffic, measure
from fairway.bench.process import BenchFailed, Program
from fairway.bench.shape import Shape
from fairway.kernel import namespaces

pytestmark = pytest.mark.kernel

OURS = Program(mode="nftables")
FOREIGN = Program(
    command=f"{sys.executable} -m fairway proxy --kubeconfig {{kubeconfig}} --hostname-override {{node}} "
    "--cluster-cidr {cluster-cidr} --service-cluster-ip-range {service-cidr} --state-file="
)


def test_connections_and_streams_past_and_through_two_proxies() -> None:
    said: list[str] = []
    found = measure([OURS, FOREIGN], [1, 5], Traffic(connections=120, seconds=0.1, iperf3=""), said.append)
    assert [one["proxy"] for one in found["proxies"]] == [str(OURS), str(FOREIGN)]
    for proxy in found["proxies"]:
        assert [one["services"] for one in proxy["sizes"]] == [1, 5]
        assert proxy["latency_ratio"] > 0
        for size in proxy["sizes"]:
            for figures in ("connect_seconds", "connections_per_second", "throughput_bits_per_second"):
                assert list(size[figures]) == ["direct", "first", "middle", "last"]
            for times in size["connect_seconds"].values():
                assert 0 < times["p50"] <= times["p99"] <= times["max"]
            assert min(size["throughput_bits_per_second"].values()) > 0
    assert "own" in found["throughput_by"]
    assert not namespaces.names(f"fairway-bench-{os.getpid()}")


def test_a_proxy_that_says_nothing_is_measured_by_its_answers() -> None:
    found = answering.measure(Shape(services=3, backends=2), 4, FOREIGN, print)
    assert found["proxy"] == str(FOREIGN)
    assert 0 < found["change_seconds"]["p50"] <= found["change_seconds"]["p99"] <= found["change_seconds"]["max"]
    assert found["cold_cpu_seconds"] > 0
    assert found["cold_seconds"] > 0
    assert found["rss_bytes"] > 10 << 20


def test_a_proxy_that_ends_is_told_with_its_last_words() -> None:
    talker = f"{sys.executable} -c \"print('no such flag'); raise SystemExit(3)\" {{kubeconfig}}"
    with pytest.raises(BenchFailed, match="ended with code 3:\nno such flag"):
        answering.measure(Shape(services=1, backends=1), 2, Program(command=talker), print)
    with pytest.raises(BenchFailed, match="not-there cannot be started: No such file"):
        answering.measure(Shape(services=1, backends=1), 2, Program(command="not-there {kubeconfig}"), print)
    assert not namespaces.names(f"fairway-bench-{os.getpid()}")
