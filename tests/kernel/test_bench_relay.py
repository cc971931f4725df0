"""The benchmark of the relay; how fast that was is not this test's business."""

from __future__ import annotations

import os

import pytest

from fairway.bench.process import BenchFailed
from fairway.bench.relay import measure
from fairway.kernel import namespaces

pytestmark = pytest.mark.kernel


def test_three_ways_to_a_backend_and_many_connections_at_one_time() -> None:
    said: list[str] = []
    found = measure(connections=60, held=120, seconds=0.1, say=said.append)
    assert list(found["targets"]) == ["direct", "nftables", "relay"]
    for one in found["targets"].values():
        for times in (one["answer_seconds"], one["request_seconds"]):
            assert 0 < times["p50"] <= times["p99"] <= times["max"]
        assert one["connections_per_second"] > 0
        assert one["throughput_bits_per_second"] > 0
    held = found["held"]
    assert held["connections"] == 120
    assert held["descriptors_per_connection"] == pytest.approx(2, abs=0.1)
    # Two chunks of buffers are 64 KiB, which nobody needs whose peers read.
    assert held["bytes_per_connection"] < 64 << 10
    assert not namespaces.names(f"fairway-bench-{os.getpid()}")


def test_more_connections_than_descriptors_are_said_before_anything_is_done() -> None:
    with pytest.raises(BenchFailed, match=r"need 20000100 file descriptors, .* at most \d+ connections"):
        measure(connections=1, held=10_000_000, seconds=0, say=print)
