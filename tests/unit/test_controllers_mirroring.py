"""Unit tests of `fairway.controllers.mirroring`: slices for Endpoints written by hand (reference, section 6.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairway.controllers.mirroring import CONTROLLER_NAME, Changes, is_mirror, reconcile, should_mirror
from fairway.objects.codec import view
from fairway.objects.endpoints import Endpoints
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from tests.unit.cluster_parts import service
from tests.unit.controllers_world import world

MINE = service(selector=None)


def endpoints(*subsets: dict[str, Any], **meta: Any) -> Endpoints:
    metadata = {"namespace": "shop", "name": "web", "uid": "uid-e", **meta}
    return view({"metadata": metadata, "subsets": list(subsets)}, Endpoints)


def subset(*ready: str, other: tuple[str, ...] = (), port: int = 80) -> dict[str, Any]:
    return {
        "addresses": [{"ip": ip} for ip in ready],
        "notReadyAddresses": [{"ip": ip} for ip in other],
        "ports": [{"name": "http", "port": port}],
    }


def written(changes: Changes) -> list[EndpointSlice]:
    """The created slices as the server would give them back."""
    return [
        msgspec.structs.replace(
            one, metadata=msgspec.structs.replace(one.metadata, name=f"web-{number}", generate_name="")
        )
        for number, one in enumerate(changes.create)
    ]


@pytest.mark.reference("6.3 conditions", "6.3 slices")
def test_each_family_has_a_slice_with_readiness_and_nothing_more() -> None:
    changes = reconcile(endpoints(subset("10.0.0.1", "fd00::1", other=("10.0.0.2",))), MINE, [])
    found = {one.address_type: one for one in changes.create}
    assert set(found) == {"IPv4", "IPv6"}
    conditions = [(e.addresses, e.conditions.ready, e.conditions.serving) for e in found["IPv4"].endpoints or ()]
    assert conditions == [(("10.0.0.1",), True, None), (("10.0.0.2",), False, None)]


@pytest.mark.reference("6.3 slices")
def test_subsets_with_other_ports_have_slices_of_their_own() -> None:
    changes = reconcile(endpoints(subset("10.0.0.1"), subset("10.0.0.2", port=81)), MINE, [])
    assert [[port.port for port in one.ports or ()] for one in changes.create] == [[80], [81]]


@pytest.mark.reference("6.3 copied")
def test_a_mirror_carries_labels_and_annotations_but_those_that_are_not_its_business() -> None:
    given = endpoints(
        subset("10.0.0.1"),
        labels={"team": "shop"},
        annotations={
            "who": "me",
            "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    )
    (one,) = reconcile(given, MINE, []).create
    assert one.metadata.labels == {
        "team": "shop",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": CONTROLLER_NAME,
    }
    assert one.metadata.annotations == {"who": "me"}
    owner = one.metadata.controller()
    assert owner is not None
    assert (owner.kind, owner.uid) == ("Endpoints", "uid-e")
    assert one.metadata.generate_name == "web-"


@pytest.mark.reference("6.3 few writes")
def test_what_is_right_is_not_written_again() -> None:
    given = endpoints(subset("10.0.0.1", "fd00::1"))
    assert reconcile(given, MINE, written(reconcile(given, MINE, []))) == Changes()


@pytest.mark.reference("6.3 few writes")
def test_a_change_of_ports_is_one_update() -> None:
    before = written(reconcile(endpoints(subset("10.0.0.1")), MINE, []))
    changes = reconcile(endpoints(subset("10.0.0.1", port=8080)), MINE, before)
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)
    assert changes.update[0].metadata.name == "web-0"


@pytest.mark.parametrize(
    "meta",
    [
        {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}},
        {"deletionTimestamp": "2026-01-02T03:04:05Z"},
    ],
    ids=["skip-mirror", "an election", "on its way out"],
)
@pytest.mark.reference("6.3 not mirrored")
def test_what_is_not_mirrored_loses_its_mirrors(meta: dict[str, Any]) -> None:
    before = written(reconcile(endpoints(subset("10.0.0.1")), MINE, []))
    assert reconcile(endpoints(subset("10.0.0.1"), **meta), MINE, before).delete == tuple(before)


@pytest.mark.reference("6.3 not mirrored", "6.3 services")
def test_endpoints_without_a_service_or_of_one_with_a_selector_are_not_mirrored() -> None:
    given = endpoints(subset("10.0.0.1"))
    assert not should_mirror(given, None)
    assert not should_mirror(given, service())
    assert should_mirror(given, MINE)


@pytest.mark.reference("6.3 limit")
def test_a_subset_has_a_thousand_addresses_at_most_and_the_rest_is_told() -> None:
    many = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1003)]
    changes = reconcile(endpoints(subset(*many)), MINE, [])
    assert [len(one.endpoints or ()) for one in changes.create] == [1000]
    ((reason, message),) = changes.warnings
    assert reason == "TooManyAddressesToMirror"
    assert "3 addresses were skipped" in message


@pytest.mark.reference("6.3 bad address")
def test_a_text_that_is_no_address_is_left_out_and_told() -> None:
    changes = reconcile(endpoints(subset("10.0.0.1", "localhost")), MINE, [])
    assert [e.addresses for one in changes.create for e in one.endpoints or ()] == [("10.0.0.1",)]
    assert changes.warnings == (("InvalidIPAddress", "Skipping address localhost: it is not an IP address"),)


@pytest.mark.reference("6.3 services")
async def test_a_hand_written_backend_reaches_the_slices_and_leaves_them_again(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        spec = {"ports": [{"name": "http", "port": 80}]}
        await it.client.create(SERVICES, {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
        given = {"metadata": {"name": "db", "namespace": "default"}, "subsets": [subset("192.0.2.1")]}
        await it.client.create(ENDPOINTS, given)
        await it.endpoints("db", 1)
        await it.client.patch(ENDPOINTS, "db", {"subsets": [subset("192.0.2.1", "192.0.2.2")]}, "default")
        await it.endpoints("db", 2)
        (mirror,) = [one for one in (await it.client.list(ENDPOINT_SLICES)).items if is_mirror(one)]
        await it.client.delete(ENDPOINT_SLICES, mirror.metadata.name, "default")
        await it.endpoints("db", 2)
        await it.client.patch(SERVICES, "db", {"spec": {"selector": {"app": "db"}}}, "default")
        await it.until(ENDPOINT_SLICES, lambda slices: not any(is_mirror(one) for one in slices))
