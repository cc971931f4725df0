"""Unit tests of `fairway.controllers.subsets`: the Endpoints object of a Service (reference, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.controllers.subsets import MANAGED_BY, OVER_CAPACITY, repack, wanted
from fairway.objects.cluster import Pod
from fairway.objects.endpoints import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from fairway.objects.resources import ENDPOINTS, SERVICES
from fairway.objects.service import Service
from tests.unit.cluster_parts import pod, service
from tests.unit.controllers_world import world

LEAVING = {"deletionTimestamp": "2026-01-02T03:04:05Z"}


def made(of: Service, pods: Iterable[Pod], old: Endpoints | None = None) -> Endpoints:
    new = wanted(of, pods, old)
    assert new is not None
    assert wanted(of, pods, new) is None
    return new


def shape(endpoints: Endpoints) -> list[tuple[list[str], list[str], list[int]]]:
    """Ready addresses, the others, and ports, of each subset."""
    return [
        (
            [one.ip for one in subset.addresses or ()],
            [one.ip for one in subset.not_ready_addresses or ()],
            [port.port for port in subset.ports or ()],
        )
        for subset in endpoints.subsets or ()
    ]


@pytest.mark.reference("6.4 subsets")
def test_ready_and_unready_pods_share_a_subset() -> None:
    pods = [pod("b", "10.0.0.2"), pod("a", "10.0.0.1"), pod("c", "10.0.0.3", ready=False)]
    assert shape(made(service(), pods)) == [(["10.0.0.1", "10.0.0.2"], ["10.0.0.3"], [80])]


def test_addresses_are_ordered_as_numbers() -> None:
    pods = [pod("a", "10.0.0.10"), pod("b", "10.0.0.9")]
    assert shape(made(service(), pods)) == [(["10.0.0.9", "10.0.0.10"], [], [80])]


def test_an_address_names_its_pod_and_node() -> None:
    (subset,) = made(service(), [pod("a", "10.0.0.1", node="n2")]).subsets or ()
    (address,) = subset.addresses or ()
    assert address.node_name == "n2"
    assert address.target_ref is not None
    assert (address.target_ref.kind, address.target_ref.namespace, address.target_ref.name) == ("Pod", "shop", "a")


@pytest.mark.reference("6.4 family")
def test_only_the_first_family_is_there() -> None:
    pods = [pod("a", "10.0.0.1", "fd00::1")]
    assert shape(made(service(ipFamilies=["IPv6", "IPv4"]), pods)) == [(["fd00::1"], [], [80])]


@pytest.mark.reference("6.4 terminating")
def test_pods_that_leave_are_out_unless_not_ready_addresses_are_published() -> None:
    pods = [pod("a", "10.0.0.1", meta=LEAVING), pod("b", "10.0.0.2", ready=False)]
    assert shape(made(service(), pods)) == [([], ["10.0.0.2"], [80])]
    published = service(publishNotReadyAddresses=True)
    assert shape(made(published, pods)) == [(["10.0.0.1", "10.0.0.2"], [], [80])]


def test_finished_pods_and_pods_without_an_address_are_out() -> None:
    pods = [pod("a", "10.0.0.1", status={"phase": "Succeeded"}), pod("b")]
    assert shape(made(service(), pods)) == []


@pytest.mark.reference("6.4 subsets")
def test_pods_with_other_ports_are_in_another_subset() -> None:
    def named(number: int) -> dict[str, Any]:
        return {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": number}]}]}

    pods = [pod("a", "10.0.0.1", spec=named(8080)), pod("b", "10.0.0.2", spec=named(9090)), pod("c", "10.0.0.3")]
    of = service({"port": 80, "targetPort": "http"})
    assert shape(made(of, pods)) == [(["10.0.0.1"], [], [8080]), (["10.0.0.2"], [], [9090])]


def test_ports_of_the_same_addresses_share_a_subset() -> None:
    of = service({"name": "b", "port": 443}, {"name": "a", "port": 80})
    assert shape(made(of, [pod("a", "10.0.0.1")])) == [(["10.0.0.1"], [], [80, 443])]


def test_a_headless_service_without_ports_has_addresses_only() -> None:
    of = service(clusterIP="None", ports=[])
    new = made(of, [pod("a", "10.0.0.1")])
    assert shape(new) == [(["10.0.0.1"], [], [])]
    assert new.metadata.label("service.kubernetes.io/headless", "absent") == ""


@pytest.mark.reference("6.4 labels")
def test_labels_are_the_services_and_say_who_manages() -> None:
    new = made(service(meta={"labels": {"team": "shop", "service.kubernetes.io/headless": ""}}), [])
    assert new.metadata.labels == {"team": "shop", MANAGED_BY: "endpoint-controller"}


@pytest.mark.reference("6.4 capacity")
def test_more_than_a_thousand_addresses_are_cut_ready_ones_last() -> None:
    pods = [pod(f"r{n}", f"10.1.{n // 250}.{n % 250 + 1}") for n in range(900)]
    pods += [pod(f"u{n}", f"10.2.{n // 250}.{n % 250 + 1}", ready=False) for n in range(300)]
    new = made(service(), pods)
    assert [(len(ready), len(other)) for ready, other, _ in shape(new)] == [(900, 100)]
    assert new.metadata.annotation(OVER_CAPACITY) == "truncated"
    less = made(service(), pods[:10], new)
    assert OVER_CAPACITY not in (less.metadata.annotations or {})


@pytest.mark.reference("6.4 labels")
def test_other_peoples_annotations_stay() -> None:
    first = made(service(), [])
    noted = Endpoints(metadata=type(first.metadata)(annotations={"who": "me"}, labels=first.metadata.labels))
    assert made(service(), [pod("a", "10.0.0.1")], noted).metadata.annotations == {"who": "me"}


ADDRESSES = st.integers(1, 6).map(lambda n: EndpointAddress(ip=f"10.0.0.{n}"))
PORTS = st.integers(1, 3).map(lambda n: EndpointPort(name=f"p{n}", port=n))
SUBSETS = st.lists(
    st.builds(
        EndpointSubset,
        addresses=st.lists(ADDRESSES, max_size=4).map(tuple),
        not_ready_addresses=st.lists(ADDRESSES, max_size=2).map(tuple),
        ports=st.lists(PORTS, max_size=3).map(tuple),
    ),
    max_size=5,
)


def pairs(subsets: Iterable[EndpointSubset]) -> set[tuple[str, str]]:
    return {
        (address.ip, port.name if port else "")
        for subset in subsets
        for address in (*(subset.addresses or ()), *(subset.not_ready_addresses or ()))
        for port in subset.ports or (None,)
    }


@pytest.mark.reference("6.4 subsets")
@given(SUBSETS, st.randoms())
def test_repacking_keeps_every_pair_and_is_one_form_whatever_the_order(subsets: Any, draw: Any) -> None:
    packed = repack(subsets)
    assert pairs(packed) == pairs(subsets)
    assert repack(packed) == packed
    shuffled = list(subsets)
    draw.shuffle(shuffled)
    assert repack(shuffled) == packed


@pytest.mark.reference("6.4 follow", "5.7 endpoints")
async def test_endpoints_follow_pods_and_go_with_their_service(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 2)
        await it.expose("web")
        await it.answering(await it.pods(2))

        def ready(all_: list[Endpoints]) -> bool:
            return any(len(s.addresses or ()) == 2 for one in all_ for s in one.subsets or ())

        await it.until(ENDPOINTS, ready)
        await it.client.patch(ENDPOINTS, "web", {"subsets": None}, "default")
        await it.until(ENDPOINTS, ready)
        await it.client.delete(SERVICES, "web", "default")
        await it.until(ENDPOINTS, lambda all_: all(one.metadata.name != "web" for one in all_))


@pytest.mark.parametrize("annotation, stays", [({}, False), ({"control-plane.alpha.kubernetes.io/leader": "{}"}, True)])
@pytest.mark.reference("6.4 orphans")
async def test_what_a_service_left_behind_goes_at_the_start(
    tmp_path: Path, annotation: dict[str, str], stays: bool
) -> None:
    async with world(tmp_path) as it:
        await it.stop()
        meta = {"name": "left", "namespace": "default", "labels": {MANAGED_BY: "endpoint-controller"}}
        await it.client.create(ENDPOINTS, {"metadata": {**meta, "annotations": annotation}})
        await it.start()
        await it.expose("late")
        # All are looked at in turn, so the one that was there before has been looked at.
        await it.until(ENDPOINTS, lambda all_: {one.metadata.name for one in all_} >= {"late"})
        if stays:
            assert "left" in {one.metadata.name for one in (await it.client.list(ENDPOINTS)).items}
        else:
            await it.until(ENDPOINTS, lambda all_: all(one.metadata.name != "left" for one in all_))
