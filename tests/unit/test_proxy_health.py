"""Unit tests of `fairway.proxy.health`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairway.objects.cluster import Node, NodeSpec, Taint
from fairway.objects.meta import ObjectMeta
from fairway.proxy.cache import Batch
from fairway.proxy.health import PATIENCE_SECONDS, Health
from fairway.proxy.receipts import Round, RoundKind
from fairway.proxy.web import Answer
from fairway.runtime.clock import FakeClock, rfc3339

NODE = Node(metadata=ObjectMeta(name="node-a"))


def done(clock: FakeClock) -> Round:
    return Round(kind=RoundKind.CHANGE, at=clock.now(), seconds=0.0, commands=1, frontends=1)


def read(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def probes() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def health(clock: FakeClock, probes: list[tuple[str, int]]) -> Health:
    return Health(clock, lambda path, code: probes.append((path, code)))


def test_before_the_first_change_all_is_well(health: Health, probes: list[tuple[str, int]]) -> None:
    assert (health.healthz().code, health.livez().code) == (200, 200)
    assert probes == [("healthz", 200), ("livez", 200)]


def test_the_answer_has_the_references_fields(health: Health, clock: FakeClock) -> None:
    updated = rfc3339(clock.now())
    clock.advance(30)
    now = rfc3339(clock.now())
    families = {name: {"lastUpdated": updated, "healthy": True} for name in ("IPv4", "IPv6")}
    body = read(health.healthz())
    assert body == {"lastUpdated": now, "currentTime": now, "nodeEligible": True, "healthy": True, "status": families}
    assert "nodeEligible" not in read(health.livez())


@pytest.mark.reference("7.4 TestHealthzServer / TestLivezServer")
def test_a_change_that_waits_too_long_is_unhealthy_until_the_kernel_has_it(health: Health, clock: FakeClock) -> None:
    health.pending()
    clock.advance(PATIENCE_SECONDS - 1)
    health.pending()
    assert health.livez().code == 200
    clock.advance(1)
    assert health.livez().code == 503
    assert read(health.livez())["healthy"] is False
    health.finished(done(clock), (), Batch())
    assert health.livez().code == 200


@pytest.mark.reference("7.4 TestHealthzServer / TestLivezServer")
@pytest.mark.parametrize(
    "node",
    [
        None,
        Node(metadata=ObjectMeta(name="node-a", deletion_timestamp="2026-01-01T00:00:00Z")),
        Node(spec=NodeSpec(taints=(Taint(key="ToBeDeletedByClusterAutoscaler", effect="NoSchedule"),))),
    ],
    ids=["unknown", "being deleted", "about to be removed"],
)
def test_a_node_that_leaves_gets_no_traffic_but_its_proxy_is_alive(health: Health, node: Node | None) -> None:
    health.node_changed(node)
    assert health.healthz().code == 503
    assert read(health.healthz())["healthy"] is True
    assert health.livez().code == 200
    health.node_changed(NODE)
    assert health.healthz().code == 200
