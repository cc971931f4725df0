"""The kinds, as a client meets them: paths, defaults, refusals in Kubernetes' words, and the two forms of Events."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fairway.objects import resources
from fairway.objects.resources import RESOURCES, Resource
from tests.unit.api_calls import MERGE, Calls, start

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

SAMPLES: dict[Resource, dict[str, Any]] = {
    resources.ENDPOINTS: {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    resources.CONFIG_MAPS: {"data": {"a": "1"}, "binaryData": {"b": "AAE="}},
    resources.SECRETS: {"data": {"a": "MQ=="}},
    resources.SERVICE_ACCOUNTS: {"automountServiceAccountToken": False},
    resources.EVENTS: {"involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"}, "reason": "Seen"},
    resources.NETWORK_POLICIES: {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
    resources.LEASES: {"spec": {"holderIdentity": "node-1", "renewTime": "2026-01-01T00:00:00.000000Z"}},
    resources.SERVICE_CIDRS: {"spec": {"cidrs": ["10.200.0.0/24"]}},
    resources.IP_ADDRESSES: {"spec": {"parentRef": {"resource": "gateways", "name": "g", "namespace": "default"}}},
}


def sample(resource: Resource, name: str = "x", **content: Any) -> dict[str, Any]:
    name = "10.9.9.9" if resource is resources.IP_ADDRESSES and name == "x" else name
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
    return {**head, **(content or SAMPLES[resource])}


async def create(calls: Calls, resource: Resource, document: dict[str, Any]) -> Any:
    return await calls("POST", resource.path("default"), document)


@pytest.mark.parametrize("resource", SAMPLES, ids=lambda one: one.kind)
async def test_a_kind_is_created_read_listed_selected_printed_and_deleted(resource: Resource) -> None:
    calls = await start()
    made = await create(calls, resource, sample(resource))
    assert made.status == 201, made.json
    name = made.json["metadata"]["name"]
    path = resource.path("default", name)
    assert (await calls("GET", path)).json == made.json
    selected = await calls("GET", f"{resource.path('default')}?fieldSelector=metadata.name%3D{name}")
    assert [item["metadata"]["name"] for item in selected.json["items"]] == [name]
    rows = (await calls("GET", path, accept=TABLE)).json["rows"]
    assert name in rows[0]["cells"]
    labelled = await calls("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert labelled.json["metadata"]["labels"] == {"a": "b"}
    assert (await calls("DELETE", path)).status == 200


def test_every_kind_of_the_house_is_served() -> None:
    from fairway.apiserver.allocation import Ranges, ServiceAllocator
    from fairway.apiserver.kinds import standard_kinds

    kinds = standard_kinds(ServiceAllocator(Ranges.parse(), lambda below: 0))
    assert {kind.resource for kind in kinds.rows} == {*RESOURCES, resources.EVENTS_V1}


async def test_text_in_a_secret_is_stored_as_base64_with_what_was_there() -> None:
    calls = await start()
    made = await create(calls, resources.SECRETS, sample(resources.SECRETS, stringData={"b": "ä"}, data={"a": "MQ=="}))
    encoded = base64.b64encode("ä".encode()).decode()
    assert made.json["data"] == {"a": "MQ==", "b": encoded}
    assert made.json["type"] == "Opaque"
    assert "stringData" not in made.json
    path = resources.SECRETS.path("default", "x")
    changed = await calls("PATCH", path, {"stringData": {"a": "2"}}, content_type=MERGE)
    assert changed.json["data"] == {"a": "Mg==", "b": encoded}


@pytest.mark.parametrize("text, place", [("?", 0), ("MQ", 0), ("MQ==MQ==", 4), ("MQ=!", 3), ("QUJD*", 4)])
async def test_data_that_is_not_base64_is_refused(text: str, place: int) -> None:
    calls = await start()
    refused = await create(calls, resources.SECRETS, sample(resources.SECRETS, data={"a": text}))
    assert refused.status == 400
    assert f"illegal base64 data at input byte {place}" in refused.json["message"]


async def test_a_lease_is_replaced_only_by_who_has_read_it_and_created_by_put() -> None:
    calls = await start()
    path = resources.LEASES.path("default", "x")
    created = await calls("PUT", path, sample(resources.LEASES))
    assert created.status == 201
    blind = await calls("PUT", path, sample(resources.LEASES))
    assert blind.status == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in blind.json["message"]
    assert (await calls("PUT", path, created.json)).status == 200


async def test_endpoints_are_deprecated_in_every_answer() -> None:
    calls = await start()
    made = await create(calls, resources.ENDPOINTS, sample(resources.ENDPOINTS))
    listed = await calls("GET", resources.ENDPOINTS.path("default"))
    assert made.json["subsets"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    for answer in (made, listed):
        assert answer.headers["warning"].startswith('299 - "v1 Endpoints is deprecated in v1.33+')


async def test_who_writes_a_network_policy_is_told_that_nobody_enforces_it() -> None:
    calls = await start()
    spec = {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}
    made = await create(calls, resources.NETWORK_POLICIES, sample(resources.NETWORK_POLICIES, spec=spec))
    assert "does not enforce" in made.headers["warning"]
    assert made.json["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made.json["spec"]["egress"] == [{"ports": [{"port": 53, "protocol": "TCP"}]}]
    assert made.json["metadata"]["generation"] == 1


@pytest.mark.reference("5.5 cidr status")
async def test_a_service_cidr_is_ready_at_once_and_held_by_its_finalizer() -> None:
    calls = await start()
    made = await create(calls, resources.SERVICE_CIDRS, sample(resources.SERVICE_CIDRS))
    assert made.json["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    (condition,) = made.json["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    assert condition["lastTransitionTime"] == made.json["metadata"]["creationTimestamp"]


def later_event(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "fairway.dev/controllers",
        "reportingInstance": "c-1",
        "action": "Binding",
        "reason": "Seen",
        "type": "Normal",
        "note": "it was seen",
        "regarding": {"kind": "Pod", "name": "x", "namespace": "default"},
        **changes,
    }


async def test_an_event_written_in_one_form_is_read_watched_and_selected_in_the_other() -> None:
    calls = await start()
    older, later = resources.EVENTS.path("default"), resources.EVENTS_V1.path("default")
    async with calls.watch(older) as old_watch, calls.watch(later) as new_watch:
        made = await calls("POST", later, later_event())
        assert made.status == 201, made.json
        first, second = await old_watch.next(), await new_watch.next()
    assert first["object"]["message"] == second["object"]["note"] == "it was seen"
    assert first["object"]["apiVersion"] == "v1"
    assert second["object"] == made.json
    stored = (await calls("GET", f"{older}/e")).json
    assert stored["involvedObject"] == made.json["regarding"]
    assert stored["reportingComponent"] == made.json["reportingController"]
    assert stored["metadata"] == made.json["metadata"]
    for path, field in ((older, "involvedObject.name"), (later, "regarding.name")):
        for name, count in (("x", 1), ("y", 0)):
            found = await calls("GET", f"{path}?fieldSelector={field}%3D{name}")
            assert len(found.json["items"]) == count, (path, name)
    table = (await calls("GET", later, accept=TABLE)).json
    assert "it was seen" in table["rows"][0]["cells"]
    await calls("PATCH", f"{older}/e", {"message": "changed"}, content_type=MERGE)
    assert (await calls("GET", f"{later}/e")).json["note"] == "changed"
    assert (await calls("DELETE", f"{later}/e")).status == 200
    assert (await calls("GET", f"{older}/e")).status == 404


WRONG_EVENTS = [
    ({"eventTime": None}, "eventTime: Required value"),
    ({"type": "Odd"}, 'type: Invalid value: "": has invalid value: Odd'),
    ({"reportingController": ""}, "reportingController: Required value"),
    ({"action": ""}, "action: Required value"),
    ({"reason": "r" * 129}, 'reason: Invalid value: "": can have at most 128 characters'),
    ({"note": "n" * 1025}, 'message: Invalid value: "": can have at most 1024 characters'),
    ({"deprecatedCount": 3}, 'count: Invalid value: "": needs to be unset'),
    ({"series": {"count": 1}}, 'series.count: Invalid value: "": should be at least 2'),
    ({"regarding": {"namespace": "other"}, "eventTime": None}, 'involvedObject.namespace: Invalid value: "other"'),
]


@pytest.mark.parametrize("changes, words", WRONG_EVENTS)
async def test_a_wrong_event_is_told_what_is_wrong(changes: dict[str, Any], words: str) -> None:
    calls = await start()
    refused = await calls("POST", resources.EVENTS_V1.path("default"), later_event(**changes))
    assert refused.status == 422
    assert words in refused.json["message"]


async def test_an_event_about_nothing_in_a_namespace_lies_in_a_systems_one() -> None:
    calls = await start()
    await calls("POST", resources.NAMESPACES.path(), {"metadata": {"name": "shop"}})
    about = {"kind": "Node", "name": "node-1"}
    event = {**later_event(regarding=about), "metadata": {"name": "started", "namespace": "shop"}}
    refused = await calls("POST", resources.EVENTS_V1.path("shop"), event)
    assert refused.status == 422
    assert 'involvedObject.namespace: Invalid value: "": does not match event.namespace' in refused.json["message"]


async def test_an_event_of_the_later_form_only_counts_on() -> None:
    calls = await start()
    path = resources.EVENTS_V1.path("default")
    await calls("POST", path, later_event())
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    counted = await calls("PATCH", f"{path}/e", {"series": series}, content_type=MERGE)
    assert counted.json["series"] == series
    changed = await calls("PATCH", f"{path}/e", {"reason": "Other"}, content_type=MERGE)
    assert changed.status == 422
    assert "reason: Invalid value" in changed.json["message"]


async def test_deleting_a_namespace_empties_it_of_every_kind() -> None:
    import asyncio

    from fairway.apiserver.collect import Collector

    calls = await start()
    await calls("POST", resources.NAMESPACES.path(), sample(resources.NAMESPACES, "shop", spec={}))
    namespaced = [one for one in SAMPLES if one.namespaced]
    for resource in namespaced:
        document = json.loads(json.dumps(sample(resource)).replace('"default"', '"shop"'))
        assert (await calls("POST", resource.path("shop"), document)).status == 201
    async with calls.watch(resources.NAMESPACES.path("", "shop")) as watch:
        collector = asyncio.create_task(Collector(calls.app.registry).run())
        await calls("DELETE", resources.NAMESPACES.path("", "shop"))
        while (await watch.next())["type"] != "DELETED":
            pass
        collector.cancel()
        await asyncio.gather(collector, return_exceptions=True)
    for resource in namespaced:
        assert (await calls("GET", resource.path("shop"))).json["items"] == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("part", ["log", "exec", "attach", "portforward"])
async def test_what_only_a_nodes_agent_could_do_is_refused_with_the_reason(method: str, part: str) -> None:
    calls = await start()
    refused = await calls(method, f"/api/v1/namespaces/default/pods/web-1/{part}")
    assert (refused.status, refused.json["reason"]) == (501, "NotImplemented")
    assert refused.json["message"].startswith(f"pods/{part} is not served: only a node's agent could do that")


async def test_other_unknown_paths_are_just_not_found() -> None:
    calls = await start()
    for path in ("services/web/proxies", "services/web/log", "configmaps/web/proxy"):
        assert (await calls("GET", f"/api/v1/namespaces/default/{path}")).status == 404
