"""Weights: which share of a Service's connections each backend gets, as annotations say.

    Service         fairway.dev/weights: "web-v2-*=1, 10.244.7.0/24=2, node/worker-3=0, *=9"   the first that fits
    EndpointSlice   fairway.dev/weight: "3"             for those of its endpoints that the Service does not name
                                                        everybody else: 1

A Service's annotation works with slices that anybody writes: it names endpoints by what every slice says of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import msgspec

from fairway.model.address import canonical, canonical_network, contains
from fairway.model.view import Backend
from fairway.objects.endpointslice import WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.service import MOST_WEIGHT, WEIGHTS_ANNOTATION, Service

MOST_RULES = 64
_FEWEST_PARTS, _MOST_PARTS = 8192, 390_000
_MOST_WEIGHED = 100_000
"""Backends of one pool; of more, each counts as one, or a mode would not know where to put them all."""
_NAME = re.compile(r"[a-z0-9.-]{0,253}\*?[a-z0-9.-]{0,253}", re.ASCII)
_NODE = "node/"


class Pattern(NamedTuple):
    """A name, or what names begin and end with."""

    begins: str
    ends: str | None = None

    def fits(self, name: str) -> bool:
        if self.ends is None:
            return name == self.begins
        room = len(name) >= len(self.begins) + len(self.ends)
        return room and name.startswith(self.begins) and name.endswith(self.ends)


class Rule(NamedTuple):
    """One item of the Service's annotation; one of the three says whom it fits."""

    weight: int
    pod: Pattern | None = None
    node: Pattern | None = None
    network: str = ""

    def fits(self, backend: Backend) -> bool:
        if self.network:
            return contains((self.network,), backend.address)
        if self.node is not None:
            return self.node.fits(backend.node)
        return self.pod is not None and self.pod.fits(backend.behind.name if backend.behind else "")


class Weights(NamedTuple):
    """What the annotations of one Service and its slices say; false when they say nothing."""

    rules: tuple[Rule, ...] = ()
    slices: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.rules or self.slices)

    def of(self, backend: Backend) -> int:
        found = next((rule.weight for rule in self.rules if rule.fits(backend)), None)
        return self.slices.get(backend.slice, 1) if found is None else found


_ALIKE = Weights()


def weights_of(service: Service, slices: dict[str, int]) -> Weights:
    """What can be read of the Service's annotation counts, and then what its slices say, by their names."""
    text = service.metadata.annotation(WEIGHTS_ANNOTATION)
    rules = parse(text)[0] if text else ()
    return Weights(rules, slices) if rules or slices else _ALIKE


def slice_weight(slice_: EndpointSlice) -> int | None:
    """What a slice says of its endpoints; None for a text that is no weight."""
    return weight_of(slice_.metadata.annotation(WEIGHT_ANNOTATION, "1"))


def parse(text: str) -> tuple[tuple[Rule, ...], list[str]]:
    """The Service's annotation; the second are sentences about what of it does not count."""
    items = [one for part in text.split(",") if (one := part.strip())]
    rules: list[Rule] = []
    problems: list[str] = []
    for item in items[:MOST_RULES]:
        whom, _, written = (part.strip() for part in item.rpartition("="))
        rule = _rule(whom, weight_of(written))
        if rule is None:
            problems.append(
                f"{item[:63]!r} must be WHOM=WEIGHT, such as web-v2-*=1: a pod's name (one * for any letters), an "
                f"address, a network or node/NAME, and a weight from 0 to {MOST_WEIGHT}"
            )
        else:
            rules.append(rule)
    if len(items) > MOST_RULES:
        problems.append(f"of {len(items)} items only the first {MOST_RULES} count")
    return tuple(rules), problems


def weighed(backends: Sequence[Backend], weights: Weights) -> Sequence[Backend]:
    """A pool with the backends' weights, in the smallest numbers that say the same; who has none is left out.

    When all have a weight of 0, nobody is better than others: all count alike, as with terminating endpoints.
    """
    found = [(one, weight) for one in backends if (weight := weights.of(one))]
    if not found:
        return backends
    parts = reduced([weight for _, weight in found])
    return tuple(
        one if part == 1 else msgspec.structs.replace(one, weight=part)
        for (one, _), part in zip(found, parts, strict=True)
    )


def reduced(weights: list[int]) -> list[int]:
    """The same proportions in few parts; nearly the same ones when there would be too many, at least one for each."""
    if len(weights) > _MOST_WEIGHED:
        return [1] * len(weights)
    divisor = gcd(*weights)
    parts = [one // divisor for one in weights]
    total, most = sum(parts), min(max(_FEWEST_PARTS, 4 * len(parts)), _MOST_PARTS)
    return parts if total <= most else [max(1, one * most // total) for one in parts]


def _rule(whom: str, weight: int | None) -> Rule | None:
    if weight is None:
        return None
    if whom.startswith(_NODE):
        node = _pattern(whom.removeprefix(_NODE))
        return Rule(weight, node=node) if node else None
    if "/" in whom:
        network = canonical_network(whom)
        return Rule(weight, network=network) if network else None
    address = canonical(whom)
    if address is not None:
        return Rule(weight, network=f"{address}/{128 if ':' in address else 32}")
    pod = _pattern(whom)
    return Rule(weight, pod=pod) if pod else None


def _pattern(name: str) -> Pattern | None:
    if not name or not _NAME.fullmatch(name):
        return None
    begins, star, ends = name.partition("*")
    return Pattern(begins, ends if star else None)


def weight_of(text: str) -> int | None:
    """A weight, or None for a text that is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        return None
    return int(text) if int(text) <= MOST_WEIGHT else None
