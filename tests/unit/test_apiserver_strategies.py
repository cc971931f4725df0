"""What Kubernetes says of Services as a kind, through the whole application: names, selectors, updates, rehearsals."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.objects.resources import ENDPOINT_SLICES, SERVICES
from tests.unit.api_calls import MERGE, Calls, service, start

HERE = SERVICES.path("default")


def node_port(name: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return service(name, type="NodePort", ports=[{"name": f"p{index}", **one} for index, one in enumerate(ports)])


def node_ports(answer: Any) -> list[int]:
    return [port["nodePort"] for port in answer.json["spec"]["ports"]]


@pytest.fixture
async def calls() -> Calls:
    return await start()


@pytest.mark.reference("5.0 names")
async def test_a_service_has_a_short_name_a_category_and_two_subresources(calls: Calls) -> None:
    rows = {row["name"]: row for row in (await calls("GET", "/api/v1")).json["resources"]}
    assert (rows["services"]["shortNames"], rows["services"]["categories"]) == (["svc"], ["all"])
    assert {"services/status", "services/proxy"} <= set(rows)


@pytest.mark.reference("5.0 selectors")
@pytest.mark.parametrize(
    "selector, names",
    [
        ("metadata.name=web", {"web"}),
        ("metadata.namespace=default,metadata.name!=kubernetes", {"web", "none"}),
        ("spec.clusterIP=None", {"none"}),
        ("spec.type=NodePort", {"web"}),
    ],
)
async def test_services_are_selected_by_four_fields(calls: Calls, selector: str, names: set[str]) -> None:
    await calls("POST", HERE, service("web", type="NodePort"))
    await calls("POST", HERE, service("none", clusterIP="None"))
    found = (await calls("GET", f"{HERE}?fieldSelector={selector}")).json["items"]
    assert {one["metadata"]["name"] for one in found} == names
    refused = await calls("GET", f"{HERE}?fieldSelector=spec.sessionAffinity=None")
    assert refused.status == 400


@pytest.mark.reference("5.0 unconditional")
async def test_an_update_without_a_version_replaces_whatever_is_there(calls: Calls) -> None:
    made = (await calls("POST", HERE, service("web"))).json
    await calls("PATCH", f"{HERE}/web", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert (await calls("PUT", f"{HERE}/web", made)).status == 409
    del made["metadata"]["resourceVersion"]
    assert (await calls("PUT", f"{HERE}/web", made)).status == 200


@pytest.mark.reference("9 dry run")
async def test_a_rehearsal_finds_an_address_that_is_taken(calls: Calls) -> None:
    await calls("POST", HERE, service("web", clusterIP="10.96.7.7"))
    refused = await calls("POST", f"{HERE}?dryRun=All", service("other", clusterIP="10.96.7.7"))
    assert refused.status == 422
    words = 'spec.clusterIPs: Invalid value: ["10.96.7.7"]: failed to allocate IP 10.96.7.7: provided IP is already'
    assert words in refused.json["message"]


@pytest.mark.reference("9 dry run")
async def test_a_rehearsal_looks_for_an_address_in_every_network(calls: Calls) -> None:
    networks = "/apis/networking.k8s.io/v1/servicecidrs"
    assert (await calls("POST", networks, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}})).status
    for address, status in (("10.97.0.7", 201), ("10.96.0.7", 201), ("10.98.0.7", 422)):
        answer = await calls("POST", f"{HERE}?dryRun=All", service("web", clusterIP=address))
        assert answer.status == status, answer.json


@pytest.mark.reference("9 node port sharing")
async def test_ports_of_one_number_share_a_node_port_when_created_and_not_when_added(calls: Calls) -> None:
    both = ({"port": 53}, {"port": 53, "protocol": "UDP"})
    made = await calls("POST", HERE, node_port("dns", *both))
    assert len(set(node_ports(made))) == 1
    await calls("POST", HERE, node_port("later", both[0]))
    added = node_port("later", *both)["spec"]
    changed = await calls("PATCH", f"{HERE}/later", {"spec": added}, content_type=MERGE)
    assert len(set(node_ports(changed))) == 2


@pytest.mark.reference("9 node port sharing")
async def test_different_numbers_never_share_a_node_port_when_created(calls: Calls) -> None:
    two = node_port("web", {"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30080})
    refused = await calls("POST", HERE, two)
    assert refused.status == 422
    assert "spec.ports[1].nodePort" in refused.json["message"]


@pytest.mark.reference("9 node port protocols")
async def test_a_node_port_of_one_service_is_nobody_elses_whatever_the_protocol(calls: Calls) -> None:
    await calls("POST", HERE, node_port("web", {"port": 80, "nodePort": 30080}))
    refused = await calls("POST", HERE, node_port("dns", {"port": 53, "protocol": "UDP", "nodePort": 30080}))
    assert refused.status == 422
    assert "provided port is already allocated" in refused.json["message"]


@pytest.mark.reference("5.3 rollback")
async def test_what_is_refused_after_its_allocation_leaves_nothing_taken(calls: Calls) -> None:
    wrong = service("web", type="NodePort", clusterIP="10.96.7.7", ports=[{"port": 80, "nodePort": 30080}])
    wrong["spec"]["sessionAffinity"] = "Sometimes"
    assert (await calls("POST", HERE, wrong)).status == 422
    right = service("other", type="NodePort", clusterIP="10.96.7.7", ports=[{"port": 80, "nodePort": 30080}])
    assert (await calls("POST", HERE, right)).status == 201


@pytest.mark.reference("6.2 generation")
async def test_a_slice_counts_changes_of_its_content_and_of_its_labels(calls: Calls) -> None:
    place = ENDPOINT_SLICES.path("default")
    one = {"metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": [], "ports": []}
    assert (await calls("POST", place, one)).json["metadata"]["generation"] == 1
    for patch, generation in (
        ({"metadata": {"annotations": {"a": "b"}}}, 1),
        ({"metadata": {"labels": {"a": "b"}}}, 2),
        ({"endpoints": [{"addresses": ["10.0.0.1"]}]}, 3),
    ):
        answer = await calls("PATCH", f"{place}/web-1", patch, content_type=MERGE)
        assert answer.json["metadata"]["generation"] == generation
