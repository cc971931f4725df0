"""Unit tests of `fairway.controllers.endpointslices` and of how `packing` fills slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairway.controllers.endpointslices import CONTROLLER_NAME, TRIGGER_TIME, has_managed_slices, reconcile
from fairway.controllers.triggers import TriggerTimes
from fairway.objects.cluster import Pod
from fairway.objects.meta import OwnerReference
from fairway.objects.resources import EVENTS, PODS, Resource
from tests.unit.cluster_parts import SliceStore, nodes, pod, service
from tests.unit.controllers_world import world


def pods(*numbers: int) -> list[Pod]:
    return [pod(f"p{number:03}", f"10.0.{number // 250}.{number % 250 + 1}") for number in numbers]


@pytest.mark.parametrize(
    "spec, managed",
    [
        ({}, True),
        ({"selector": None}, False),
        ({"selector": {}}, False),
        ({"type": "ExternalName"}, False),
        ({"clusterIP": "None"}, True),
    ],
)
@pytest.mark.reference("6.1 services")
def test_which_services_have_managed_slices(spec: dict[str, Any], managed: bool) -> None:
    assert has_managed_slices(service(**spec)) is managed


@pytest.mark.reference("6.1 owner", "6.1 labels")
def test_a_new_service_gets_a_slice_that_it_owns() -> None:
    store = SliceStore()
    given = service(meta={"labels": {"team": "shop", "endpointslice.kubernetes.io/managed-by": "me"}})
    one = store.reconcile(given, pods(1)).create[0]
    assert one.metadata.generate_name == "web-"
    assert one.metadata.labels == {
        "team": "shop",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": CONTROLLER_NAME,
    }
    owner = one.metadata.controller()
    assert owner is not None
    assert (owner.kind, owner.name, owner.uid, owner.block_owner_deletion) == ("Service", "web", "uid-web", True)


@pytest.mark.reference("6.1 labels")
def test_a_headless_service_is_labelled_so() -> None:
    one = SliceStore().reconcile(service(clusterIP="None"), pods(1)).create[0]
    assert (one.metadata.labels or {})["service.kubernetes.io/headless"] == ""


@pytest.mark.reference("6.1 owner")
def test_a_name_of_full_length_has_no_room_for_a_dash() -> None:
    name = "w" * 253
    one = SliceStore().reconcile(service(meta={"name": name}), pods(1)).create[0]
    assert one.metadata.generate_name == name


@pytest.mark.reference("6.1 placeholder", "6.1 families")
def test_a_service_without_endpoints_keeps_one_empty_slice_for_each_family() -> None:
    store = SliceStore()
    given = service(ipFamilies=["IPv4", "IPv6"])
    store.reconcile(given, [])
    assert sorted(one.address_type for one in store.slices.values()) == ["IPv4", "IPv6"]
    assert [one.ports for one in store.slices.values()] == [(), ()]
    changes = store.reconcile(given, pods(1))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)
    changes = store.reconcile(given, [])
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)
    assert store.endpoints() == []


@pytest.mark.reference("6.1 few writes")
def test_one_change_is_one_write() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(*range(250)))
    assert store.sizes() == [50, 100, 100]
    before = store.writes
    store.reconcile(service(), pods(*range(249)))
    assert store.writes == before + 1
    changed = pods(*range(249))
    changed[0] = pod("p000", "10.0.0.1", ready=False)
    store.reconcile(service(), changed)
    assert store.writes == before + 2


@pytest.mark.reference("6.1 packing")
def test_a_slice_that_needs_a_write_anyway_takes_new_endpoints_first() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(*range(150)))
    first = next(name for name, one in store.slices.items() if len(one.endpoints or ()) == 100)
    gone = (store.slices[first].endpoints or ())[0].target_ref
    assert gone is not None
    left = [one for one in pods(*range(150)) if one.metadata.name != gone.name]
    changes = store.reconcile(service(), [*left, *pods(200)])
    assert [one.metadata.name for one in changes.update] == [first]
    assert store.sizes() == [50, 100]


@pytest.mark.reference("6.1 packing")
def test_what_is_left_goes_into_the_fullest_slice_that_takes_it_all() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(*range(9)), limit=4)
    assert store.sizes() == [1, 4, 4]
    store.reconcile(service(), pods(*range(11)), limit=4)
    assert store.sizes() == [3, 4, 4]
    changes = store.reconcile(service(), pods(*range(13)), limit=4)
    assert (len(changes.create), len(changes.update)) == (1, 0)
    assert store.sizes() == [2, 3, 4, 4]


@pytest.mark.reference("6.1 packing")
def test_nothing_is_moved_to_make_slices_fuller() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(*range(8)), limit=4)
    store.reconcile(service(), pods(0, 4), limit=4)
    assert store.sizes() == [1, 1]


@pytest.mark.reference("6.1 packing")
def test_a_slice_that_becomes_empty_goes() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(*range(8)), limit=4)
    changes = store.reconcile(service(), pods(0, 1, 2, 3), limit=4)
    assert (len(changes.update), len(changes.delete)) == (0, 1)


@pytest.mark.reference("6.1 few writes")
def test_new_ports_reuse_the_slices_of_the_old_ones() -> None:
    store = SliceStore()
    store.reconcile(service({"port": 80}), pods(*range(3)))
    changes = store.reconcile(service({"port": 80, "targetPort": 8080}), pods(*range(3)))
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


@pytest.mark.reference("6.1 few writes")
def test_the_order_of_ports_is_no_reason_to_write() -> None:
    store = SliceStore()
    http, grpc = {"name": "http", "port": 80}, {"name": "grpc", "port": 90}
    store.reconcile(service(http, grpc), pods(1))
    assert not store.reconcile(service(grpc, http), pods(1))


@pytest.mark.reference("6.1 labels")
def test_labels_of_the_service_are_followed() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(1))
    changes = store.reconcile(service(meta={"labels": {"new": "one"}}), pods(1))
    assert [(one.metadata.labels or {})["new"] for one in changes.update] == ["one"]


@pytest.mark.reference("6.1 families")
def test_slices_of_a_family_no_longer_wanted_go() -> None:
    store = SliceStore()
    both = [pod("p", "10.0.0.1", "fd00::1")]
    store.reconcile(service(ipFamilies=["IPv4", "IPv6"]), both)
    changes = store.reconcile(service(ipFamilies=["IPv4"]), both)
    assert [one.address_type for one in changes.delete] == ["IPv6"]
    assert store.addresses() == ["10.0.0.1"]


@pytest.mark.reference("6.1 owner")
def test_slices_of_another_owner_of_that_name_go() -> None:
    store = SliceStore()
    store.reconcile(service(meta={"uid": "the one before"}), pods(1))
    changes = store.reconcile(service(), pods(1))
    assert (len(changes.create), len(changes.delete)) == (1, 1)
    assert [one.metadata.controller() for one in store.slices.values()] == [
        OwnerReference(
            api_version="v1", kind="Service", name="web", uid="uid-web", controller=True, block_owner_deletion=True
        )
    ]


@pytest.mark.reference("6.1 deletion")
def test_a_service_that_is_being_deleted_gets_no_new_slices() -> None:
    going = service(meta={"deletionTimestamp": "2026-01-02T03:04:05Z"})
    assert not reconcile(going, pods(1), nodes(), [])


@pytest.mark.reference("6.1 foreign edits")
def test_somebody_elses_edit_is_put_right() -> None:
    store = SliceStore()
    store.reconcile(service(), pods(1, 2))
    (name, one), *_ = store.slices.items()
    store.put(msgspec.structs.replace(one, endpoints=(one.endpoints or ())[:1]), name)
    assert len(store.reconcile(service(), pods(1, 2)).update) == 1
    assert len(store.endpoints()) == 2


@pytest.mark.reference("6.2 unready")
def test_old_hints_of_an_endpoint_that_is_not_ready_cause_no_write() -> None:
    store = SliceStore()
    given = service(trafficDistribution="PreferClose")
    store.reconcile(given, [pod("p", "10.0.0.1")])
    store.reconcile(given, [pod("p", "10.0.0.1", ready=False)])
    assert store.endpoints()[0].hints is not None
    assert not store.reconcile(service(), [pod("p", "10.0.0.1", ready=False)])
    store.reconcile(service(), [pod("p", "10.0.0.1")])
    assert store.endpoints()[0].hints is None


@pytest.mark.reference("6.1 trigger")
def test_the_time_of_the_cause_is_noted_and_forgotten() -> None:
    store = SliceStore()
    changes = store.write(reconcile(service(), pods(1), nodes(), [], trigger_time="2026-01-01T00:00:00Z"))
    assert changes.create[0].metadata.annotations == {TRIGGER_TIME: "2026-01-01T00:00:00Z"}
    assert not reconcile(service(), pods(1), nodes(), store.slices.values(), trigger_time="2026-01-01T00:00:09Z")
    changes = reconcile(service(), pods(1, 2), nodes(), store.slices.values())
    assert changes.update[0].metadata.annotations is None


@pytest.mark.reference("6.1 trigger")
def test_trigger_times_are_the_earliest_of_what_is_new() -> None:
    times = TriggerTimes()
    given = service(meta={"creationTimestamp": "2026-01-01T00:00:09Z"})
    a = pod("a", "10.0.0.1", since="2026-01-01T00:00:05Z")
    b = pod("b", "10.0.0.2", since="2026-01-01T00:00:07Z")
    assert times.next(given, [a, b]) == "2026-01-01T00:00:05Z"
    assert times.next(given, [a, b]) == ""
    assert times.next(given, [a, pod("b", "10.0.0.2", since="2026-01-01T00:00:20Z")]) == "2026-01-01T00:00:20Z"
    times.forget(given.key)
    assert times.next(given, []) == "2026-01-01T00:00:09Z"


def test_the_address_type_is_always_written() -> None:
    given = service(clusterIP="None", ipFamilies=[])
    for one in SliceStore().reconcile(given, pods(1)).create:
        assert msgspec.to_builtins(one)["addressType"] == one.address_type


@pytest.mark.reference("6.1 limit")
def test_a_slice_holds_as_many_endpoints_as_we_are_told() -> None:
    changes = reconcile(service(), pods(*range(7)), nodes(), (), limit=3)
    assert sorted(len(one.endpoints or ()) for one in changes.create) == [1, 3, 3]


@pytest.mark.reference("6.1 events")
async def test_a_service_says_when_its_slices_cannot_be_written(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.nodes("n1")
        await it.deploy("web", 1)
        await it.expose("web")
        (one,) = await it.pods(1)
        # No kubelet says so, and no slice may.
        status = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        await it.client.patch_status(PODS, one.metadata.name, {"status": status}, "default")
        seen: Resource[Any] = EVENTS
        async for events in it.client.watch(seen, "0"):
            for event in events:
                told = await it.client.get_document(seen, event.metadata.name, event.metadata.namespace)
                if told["reason"] == "FailedToUpdateEndpointSlices":
                    assert told["type"] == "Warning"
                    assert told["involvedObject"]["name"] == "web"
                    assert told["message"].startswith("Error updating Endpoint Slices for Service default/web: ")
                    return
