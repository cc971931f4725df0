"""Unit tests of `fairway.controllers.topology`: hints in proportion to the zones' CPUs (reference, section 6.2)."""

from __future__ import annotations

from collections import Counter
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.controllers.endpointslices import reconcile
from fairway.controllers.topology import Candidate, NodeCPUs, ZoneCPU, cores, share
from fairway.objects.cluster import Node
from fairway.objects.codec import view
from fairway.objects.resources import EVENTS, NODES, SERVICES
from tests.unit.cluster_parts import SliceStore, nodes, pod, service
from tests.unit.controllers_world import world

EVEN = ZoneCPU({"a": 4.0, "b": 4.0})
AUTO = service(meta={"annotations": {"service.kubernetes.io/topology-mode": "Auto"}})


def at(*zones: str) -> dict[object, Candidate]:
    return {number: Candidate(zone) for number, zone in enumerate(zones)}


def machine(name: str, zone: str, cpu: str, *, ready: str = "True", **labels: str) -> Node:
    meta = {"name": name, "labels": {"topology.kubernetes.io/zone": zone, **labels}}
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}
    return view({"metadata": meta, "status": status}, Node)


@pytest.mark.reference("6.2 topology mode")
def test_where_zones_are_even_everybody_serves_the_own_one() -> None:
    assert share(at("a", "a", "b", "b"), EVEN).zones == {0: "a", 1: "a", 2: "b", 3: "b"}


@pytest.mark.reference("6.2 topology mode")
def test_a_zone_with_too_few_is_served_from_others() -> None:
    assert Counter(share(at("a", "a", "a", "a"), EVEN).zones.values()) == {"a": 2, "b": 2}


@pytest.mark.reference("6.2 topology mode")
def test_whoever_served_a_zone_before_goes_on() -> None:
    before = {"x": "a", "y": "b", "z": "a", "w": "b"}
    candidates: dict[object, Candidate] = {key: Candidate("a", zone) for key, zone in before.items()}
    assert share(candidates, EVEN).zones == before


@pytest.mark.parametrize(
    "candidates, cpus, problem",
    [
        (at("a"), EVEN, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (at("a", ""), EVEN, "One or more endpoints do not have a zone specified"),
        (at("a", "b"), ZoneCPU({}, "Nodes only ready in one zone only"), "Nodes only ready in one zone only"),
        (at("a", "b"), ZoneCPU({"a": 90.0, "b": 10.0}), "Unable to allocate minimum required endpoints to each zone"),
    ],
)
@pytest.mark.reference("6.2 topology mode")
def test_what_cannot_be_done_well_is_not_done(candidates: dict[object, Candidate], cpus: ZoneCPU, problem: str) -> None:
    shares = share(candidates, cpus)
    assert shares.zones == {}
    assert shares.problem.startswith(problem)


@given(
    st.lists(st.sampled_from("abc"), min_size=3, max_size=40),
    st.fixed_dictionaries({zone: st.integers(1, 64).map(float) for zone in "abc"}),
)
@pytest.mark.reference("6.2 topology mode")
def test_no_zone_has_fewer_than_its_share_less_a_fifth(zones: list[str], cpus: dict[str, float]) -> None:
    shares = share(at(*zones), ZoneCPU(cpus))
    if not shares.problem:
        have = Counter(shares.zones.values())
        for zone, cpu in cpus.items():
            assert have[zone] >= ceil(cpu / sum(cpus.values()) * len(zones) / 1.2)
        assert len(shares.zones) == len(zones)


@pytest.mark.reference("6.2 topology mode")
def test_nodes_that_are_not_ready_or_run_the_control_plane_do_not_count() -> None:
    cpus = NodeCPUs()
    assert cpus.set("n1", machine("n1", "a", "4"))
    assert cpus.set("n2", machine("n2", "b", "2500m"))
    assert not cpus.set("n3", machine("n3", "a", "4", ready="False"))
    assert not cpus.set("n4", machine("n4", "a", "4", **{"node-role.kubernetes.io/control-plane": ""}))
    assert cpus.zones().zones == {"a": 4.0, "b": 2.5}
    assert not cpus.set("n1", machine("n1", "a", "4"))
    assert cpus.set("n2", None)
    assert cpus.zones().problem == "Nodes only ready in one zone only"
    assert cpus.set("n5", machine("n5", "b", ""))
    assert cpus.zones().problem.startswith("Insufficient Node information")


@pytest.mark.parametrize("text, number", [("4", 4.0), ("1500m", 1.5), ("0.5", 0.5), ("", 0.0), ("many", 0.0)])
@pytest.mark.reference("6.2 topology mode")
def test_a_quantity_of_cpu(text: str, number: float) -> None:
    assert cores(text) == number


@pytest.mark.reference("6.2 topology mode")
def test_slices_carry_the_hints_and_writing_them_again_changes_nothing() -> None:
    store = SliceStore()
    pods = [pod(f"p{number}", f"10.0.0.{number}", node="n1") for number in range(1, 5)]
    store.write(reconcile(AUTO, pods, nodes(), (), cpus=EVEN))
    zones = Counter(zone.name for e in store.endpoints() if e.hints for zone in e.hints.for_zones or ())
    assert zones == {"a": 2, "b": 2}
    again = reconcile(AUTO, pods, nodes(), store.slices.values(), cpus=EVEN)
    assert not again
    assert again.no_hints == {"IPv4": ""}


@pytest.mark.reference("6.2 topology mode")
def test_hints_go_when_they_cannot_be_had_any_more() -> None:
    store = SliceStore()
    pods = [pod(f"p{number}", f"10.0.0.{number}", node="n1") for number in range(1, 5)]
    store.write(reconcile(AUTO, pods, nodes(), (), cpus=EVEN))
    changes = store.write(reconcile(AUTO, pods, nodes(), store.slices.values(), cpus=ZoneCPU({}, "no zones")))
    assert changes.no_hints == {"IPv4": "no zones"}
    assert all(e.hints is None for e in store.endpoints())


@pytest.mark.reference("6.2 topology mode")
async def test_a_service_says_whether_it_has_its_hints_and_a_node_changes_that(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.client.create(NODES, machine("n1", "a", "4"))
        await it.deploy("web", 2)
        await it.expose("web")
        note = {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}}
        await it.client.patch(SERVICES, "web", note, "default")

        async def told(reason: str) -> str:
            async for events in it.client.watch(EVENTS, "0"):
                for one in events:
                    if one.type == "ADDED":
                        event = await it.client.get_document(EVENTS, one.metadata.name, one.metadata.namespace)
                        if event["reason"] == reason:
                            return str(event["message"])
            raise AssertionError("the watch has ended")

        assert await told("TopologyAwareHintsDisabled") == "Nodes only ready in one zone only, addressType: IPv4"
        await it.client.create(NODES, machine("n2", "b", "4"))
        await it.answering(await it.pods(2))
        assert await told("TopologyAwareHintsEnabled") == "Topology Aware Hints has been enabled, addressType: IPv4"
