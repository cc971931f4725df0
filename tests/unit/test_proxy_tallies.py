"""Unit tests of `fairway.proxy.tallies`: what Prometheus reads is what was told, exactly as its own library says it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from fairway.proxy.tallies import Numbers, Spans

BOUNDS = (0.001, 0.25, 1, 60)


@pytest.fixture(autouse=True)
def no_moments_of_creation() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


def text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_spans_say_what_a_histogram_of_the_library_says() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spans = Spans("seconds", "Time", "kind", BOUNDS)
    ours.register(spans)
    histogram = Histogram("seconds", "Time", ["kind"], buckets=BOUNDS, registry=theirs)
    assert text(ours) == text(theirs)
    for kind, seconds in (("a", 0.0), ("b", 0.001), ("a", 0.0011), ("a", 59.9), ("b", 61.0), ("a", 1.0)):
        spans.observe(kind, seconds)
        histogram.labels(kind).observe(seconds)
        assert text(ours) == text(theirs)


def test_numbers_say_what_counters_and_gauges_of_the_library_say() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counted = Numbers(CounterMetricFamily, "commands", "Commands", "round")
    measured = Numbers(GaugeMetricFamily, "waiting", "Objects that wait")
    known = Numbers(GaugeMetricFamily, "moment", "When", "family", ("IPv4",))
    for one in (counted, measured, known):
        ours.register(one)
    counter = Counter("commands_total", "Commands", ["round"], registry=theirs)
    gauge = Gauge("waiting", "Objects that wait", registry=theirs)
    Gauge("moment", "When", ["family"], registry=theirs).labels("IPv4")
    assert text(ours) == text(theirs)
    for amount in (3, 0, 2):
        counted.add("change", amount)
        counter.labels("change").inc(amount)
        measured.add("", -amount)
        gauge.dec(amount)
        assert text(ours) == text(theirs)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    registry.register(Numbers(CounterMetricFamily, "commands", "Commands"))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Numbers(CounterMetricFamily, "commands", "Commands"))
