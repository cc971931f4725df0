"""Weights of backends: what the annotations mean, and how small the numbers are that say it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.resolve import resolve_service
from fairway.model.view import NodeSettings
from fairway.model.weights import MOST_RULES, parse, reduced
from fairway.objects.codec import view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

NODE = NodeSettings(name="node-1", pod_networks=("10.0.0.0/8",))
PODS = {"10.0.1.1": ("web-v1-a", "node-1"), "10.0.1.2": ("web-v1-b", "node-2"), "10.0.2.1": ("web-v2-a", "node-2")}


def weights(annotation: str, slice_annotation: str | None = None, **spec: Any) -> dict[str, int]:
    """The weight of each address in the cluster pool."""
    metadata = {"name": "web", "namespace": "shop", "annotations": {"fairway.dev/weights": annotation}}
    ports = [{"name": "http", "port": 80}]
    service = view({"metadata": metadata, "spec": {"clusterIP": "10.96.0.1", "ports": ports, **spec}}, Service)
    endpoints = [
        {"addresses": [address], "nodeName": node, "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod}}
        for address, (pod, node) in PODS.items()
    ]
    slice_ = view(
        {
            "metadata": {
                "name": "web-a",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web"},
                "annotations": {"fairway.dev/weight": slice_annotation} if slice_annotation is not None else None,
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": endpoints,
        },
        EndpointSlice,
    )
    frontend = resolve_service(service, [slice_], NODE)[0]
    return {one.address: one.weight for one in (*frontend.cluster, *frontend.local)}


@pytest.mark.parametrize(
    "annotation, expected",
    [
        ("", (1, 1, 1)),
        ("web-v1-*=9, web-v2-*=1", (9, 9, 1)),
        ("web-v1-a=3", (3, 1, 1)),
        ("*-a=3", (3, 1, 3)),
        ("10.0.1.2=5", (1, 5, 1)),
        ("10.0.1.0/24=4,*=2", (2, 2, 1)),
        ("node/node-2=7", (1, 7, 7)),
        ("node/*=7", (1, 1, 1)),
        ("web-v1-a=2, *=5", (2, 5, 5)),
        ("010.0.1.1=2", (2, 1, 1)),
        (" web-v2-a = 6 , ", (1, 1, 6)),
        ("web-v1-*=10, web-v2-*=30", (1, 1, 3)),
    ],
)
def test_the_first_item_that_fits_says_the_weight(annotation: str, expected: tuple[int, ...]) -> None:
    assert weights(annotation) == dict(zip(PODS, expected, strict=True))


def test_who_weighs_nothing_gets_nothing_unless_nobody_does() -> None:
    assert weights("web-v1-a=0") == {"10.0.1.2": 1, "10.0.2.1": 1}
    assert weights("*=0") == dict.fromkeys(PODS, 1)


def test_a_slice_says_the_weight_of_those_that_the_service_does_not_name() -> None:
    assert weights("web-v1-a=2", "6") == {"10.0.1.1": 1, "10.0.1.2": 3, "10.0.2.1": 3}
    assert weights("", "0") == dict.fromkeys(PODS, 1)
    assert weights("web-v1-a=2", "six") == {"10.0.1.1": 2, "10.0.1.2": 1, "10.0.2.1": 1}


def test_each_pool_has_numbers_of_its_own() -> None:
    local = {"type": "NodePort", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"}
    assert weights("*=8", **local) == {"10.0.1.1": 1}


@pytest.mark.parametrize(
    "item",
    [
        "web",
        "web=",
        "=3",
        "web=101",
        "web=-1",
        "web=1.5",
        "web=³",
        "w*b*=1",
        "10.0.0.0/99=1",
        "node/=1",
        "Web=1",
        "a;b=1",
    ],
)
def test_an_item_that_means_nothing_is_told_and_does_not_count(item: str) -> None:
    rules, problems = parse(f"{item}, web-v1-a=2")
    assert len(rules) == 1
    assert len(problems) == 1
    assert problems[0].startswith(f"{item!r} must be WHOM=WEIGHT, such as web-v2-*=1")


def test_too_many_items_are_cut_off() -> None:
    rules, problems = parse(",".join(f"pod-{number}=1" for number in range(1000)))
    assert len(rules) == MOST_RULES
    assert problems == ["of 1000 items only the first 64 count"]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=200))
def test_reduced_weights_keep_their_proportions(some: list[int]) -> None:
    parts = reduced(some)
    assert len(parts) == len(some)
    assert min(parts) >= 1
    assert sum(parts) <= 8192 + len(some)
    if sum(some) <= 8192:
        assert all(part * some[0] == weight * parts[0] for part, weight in zip(parts, some, strict=True))


def test_a_hundred_thousand_backends_stay_within_what_numbers_can_say() -> None:
    parts = reduced([1, 100] * 50_000)
    assert sum(parts) <= 400_000
    assert set(parts) == {1, 7}
