"""The benchmarks of packets, and of any proxy by its command line; how fast that was is not this test's business."""

from __future__ import annotations

import os
import re
import sys

import pytest

from fairway.bench import answering
from fairway.bench.datapath import Traffic, measure
from fairway.bench.process import BenchFailed, Program
from fairway.bench.shape import Shape
from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.namespaces import NetworkNamespace

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


def test_a_service_that_falls_silent_is_told_with_what_everybody_on_the_way_says() -> None:
    def silence(said: str) -> None:
        """Somebody's rule, where the backends are, once all have answered."""
        if said == "connections …":
            (backends,) = (
                one for one in namespaces.names(f"fairway-bench-{os.getpid()}-") if one.endswith("-backends")
            )
            rule = f"ip daddr {Shape(2, 1).backend_address(1)} drop"
            told = f"table ip foreign {{ chain f {{ type filter hook input priority 0; {rule}; }}; }}"
            run(["nft", "-f", "-"], namespace=NetworkNamespace(backends), input=told)

    with pytest.raises(BenchFailed) as failed:
        measure([OURS], [2], Traffic(connections=1, seconds=0, again=1), silence)
    first, *evidence = str(failed.value).splitlines()
    assert re.search(r"2 Services: last \(10.0.0.2:80\) answers no more: Connection timed out \(from port \d+\)", first)
    assert evidence[0] == "  asked again: direct answers, first answers, middle answers, last does not"
    assert "the connection is translated to 10.128.0.1:8080" in evidence[1]
    assert evidence[2].endswith("the process that accepts runs; connections that found its queue full: 0")


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
