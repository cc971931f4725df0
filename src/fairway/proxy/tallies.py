"""Metrics that are told a thousand times a second and read four times a minute: plain values, made into Prometheus'
families when somebody scrapes.

The client library's own locks a mutex and looks up labels for each number it is told, which is most of what telling it
costs. All that is told here is told by one thread, and a scrape sees all of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString


class Spans:
    """A histogram of seconds, with one label."""

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._label, self._bounds = name, text, label, bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, seconds: float) -> None:
        """``value`` is that of the label."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def describe(self) -> Iterable[Metric]:
        return (HistogramMetricFamily(self._name, self._text, labels=[self._label]),)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, counts in self._counts.items():
            family.add_metric([value], list(zip(ends, accumulate(counts), strict=True)), self._sums[value])
        yield family


class Numbers:
    """A counter or a gauge: ``values`` are written by whoever counts, by the value of the label (none: "")."""

    def __init__(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        text: str,
        label: str = "",
        known: Iterable[str] = (),
    ) -> None:
        """``known`` values of the label are there from the beginning."""
        self._family, self._name, self._text = family, name, text
        self._labels = [label] if label else []
        self.values: dict[str, float] = dict.fromkeys(known if label else ("",), 0.0)

    def add(self, value: str, amount: float = 1.0) -> None:
        self.values[value] = self.values.get(value, 0.0) + amount

    def describe(self) -> Iterable[Metric]:
        return (self._family(self._name, self._text, labels=self._labels),)

    def collect(self) -> Iterable[Metric]:
        family = self._family(self._name, self._text, labels=self._labels)
        for value, number in self.values.items():
            family.add_metric([value] if self._labels else [], number)
        yield family
