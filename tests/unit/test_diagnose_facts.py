"""The facts of advice: what Services use, how large they are, what a proxy's /status tells of churn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.diagnose.advice import Facts, Use
from fairway.diagnose.cluster import Networks, from_documents
from fairway.diagnose.facts import Machine, of_cluster, possible, watched, with_machine, with_proxy
from fairway.modes.registry import MODES
from fairway.objects.codec import Document
from tests.unit.scripted_server import ScriptedServer, service_list
from tests.unit.scripted_server import service as served

NODE: Document = {
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
}


def service(
    annotations: dict[str, str] | None = None, ports: list[dict[str, Any]] | None = None, **spec: Any
) -> Document:
    return {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations or {}},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports or [{"port": 80}], **spec},
    }


def slice_of(count: int) -> Document:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.244.0.{n + 1}"]} for n in range(count)],
        "ports": [{"name": "", "port": 8080}],
    }


def facts(*documents: Document, node: str | None = "n1") -> Facts:
    return of_cluster(from_documents([NODE, *documents], Networks()), node)


@pytest.mark.parametrize(
    "given, use",
    [
        (service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]), Use.NODE_PORTS),
        (service(loadBalancerSourceRanges=["192.0.2.0/24"]), Use.SOURCE_RANGES),
        (service(externalIPs=["192.0.2.9"]), Use.EXTERNAL_IPS),
        (service(sessionAffinity="ClientIP"), Use.AFFINITY),
        (service(internalTrafficPolicy="Local"), Use.LOCAL),
        (service({"fairway.dev/ipvs-scheduler": "lc"}), Use.SCHEDULERS),
        (service({"fairway.dev/access-log": "true"}), Use.RELAYS),
        (service({"fairway.dev/balancing": "hash"}), Use.HASHING),
        (service({"fairway.dev/weights": "*=2"}), Use.WEIGHTS),
        (service(ports=[{"port": 80, "protocol": "SCTP"}]), Use.SCTP),
        (service(ports=[{"port": 53, "protocol": "UDP"}]), Use.UDP),
        (service(clusterIPs=["10.96.0.1", "fd00::1"]), Use.DUAL_STACK),
    ],
)
def test_what_a_service_uses_is_seen(given: Document, use: Use) -> None:
    assert facts(given).uses == {use: 1}
    assert facts(service()).uses == {}


def test_services_and_backends_are_counted() -> None:
    found = facts(service(ports=[{"port": 80}]), slice_of(7))
    assert (found.services, found.backends, found.most_backends) == (1, 7, 7)


def test_services_that_no_proxy_serves_do_not_count() -> None:
    found = facts(service(clusterIP="None", externalIPs=["192.0.2.9"]))
    assert (found.services, found.uses) == (0, {})


def test_a_cluster_without_nodes_has_facts_too() -> None:
    assert of_cluster(from_documents([service()], Networks()), None).services == 1


def test_each_mode_says_itself_what_it_does_otherwise() -> None:
    found = facts(service({"fairway.dev/ipvs-scheduler": "lc"}))
    assert set(found.candidates) == set(MODES)
    assert found.schedulers == {"lc": 1}
    for name in ("nftables", "iptables", "userspace"):
        assert found.candidates[name].services == 1
        assert "Service shop/web" in found.candidates[name].differently[0]


def test_a_scheduler_that_there_is_not_is_no_reason_for_ipvs() -> None:
    found = facts(service({"fairway.dev/ipvs-scheduler": "best\n\x1b[31m"}))
    assert (found.schedulers, found.uses) == ({}, {})


def status(*seconds: int) -> dict[str, Any]:
    """A proxy that started at 0:00, with a receipt at each of these seconds."""
    return {
        "mode": "iptables",
        "node": {"name": "n1", "localhostNodePorts": True},
        "rounds": [{"kind": "start", "at": "2026-01-01T00:00:00.000000Z"}],
        "receipts": [{"at": f"2026-01-01T00:00:{second:02}.000000Z"} for second in seconds],
    }


@pytest.mark.parametrize(
    "seconds, pace",
    [((0, 0, 0), 0.0), ((0, 20, 30), 0.05), ((), 0.0)],
    ids=["only the start", "two in the last forty seconds", "nothing"],
)
def test_changes_are_counted_by_receipts_since_the_start(seconds: tuple[int, ...], pace: float) -> None:
    found = with_proxy(facts(service()), status(*seconds), datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    assert found.changes_per_second == pytest.approx(pace)
    assert (found.mode, found.localhost_node_ports) == ("iptables", True)


def test_a_status_without_rounds_says_nothing_about_changes() -> None:
    said = {"mode": "nftables", "node": {"name": "n1"}}
    assert with_proxy(facts(service()), said, datetime(2026, 1, 1, tzinfo=UTC)).changes_per_second is None


def test_a_machine_tells_each_mode_what_it_cannot() -> None:
    machine = Machine("6.18.0", {name: "" if name == "nftables" else "no" for name in MODES}, None, None)
    found = with_machine(facts(service()), machine)
    assert possible(found) == ["nftables"]
    assert found.kernel == "6.18.0"
    assert possible(with_machine(found, Machine("6.18.0", None, None, None))) == []


async def test_changes_are_counted_by_watching_services_and_slices() -> None:
    server = ScriptedServer()
    asked = asyncio.create_task(watched(Client(AsgiTransport(server)), 50.0))
    slices = "GET /apis/discovery.k8s.io/v1/endpointslices"
    for path in ("GET /api/v1/services", slices):
        await (await server.next(path)).answer(service_list(5))
    exchange = await server.next("GET /api/v1/services")
    assert (exchange.query["resourceVersion"], exchange.query["timeoutSeconds"]) == ("5", "50")
    await exchange.begin()
    for revision in (6, 7):
        await exchange.event("MODIFIED", served("cart", revision))
    await exchange.event("BOOKMARK", {"metadata": {"resourceVersion": "8"}})
    await exchange.end()
    exchange = await server.next(slices)
    await exchange.begin()
    await exchange.event("ADDED", {"metadata": {"namespace": "shop", "name": "cart-1", "resourceVersion": "9"}})
    await exchange.end()
    assert await asked == pytest.approx(3 / 50)
