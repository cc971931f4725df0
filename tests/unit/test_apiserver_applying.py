"""Server-side apply as clients see it: owners, conflicts, what goes and what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api_calls import APPLY, JSON_PATCH, MERGE, Answer, Calls, service, start

SERVICES = "/api/v1/namespaces/default/services"
WEB = f"{SERVICES}/web"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"


@pytest.fixture
async def api() -> Calls:
    return await start()


def web(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


async def apply(api: Calls, document: Any, manager: str, *, more: str = "", path: str = WEB) -> Answer:
    return await api("PATCH", f"{path}?fieldManager={manager}{more}", document, content_type=APPLY)


def owners(answer: Answer) -> dict[tuple[str, str], Any]:
    entries = answer.json["metadata"].get("managedFields", [])
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in entries}


async def test_an_apply_creates_and_owns_what_it_says(api: Calls) -> None:
    created = await apply(api, web(ports=[{"port": 80}], selector={"app": "web"}), "me")
    assert created.status == 201
    port: dict[str, Any] = {".": {}, "f:port": {}}
    fields = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': port}, "f:selector": {}}}
    assert owners(created) == {("me", "Apply"): fields}
    again = await apply(api, web(ports=[{"port": 80}], selector={"app": "web"}), "me")
    assert again.status == 200
    assert again.json == created.json


async def test_yaml_is_applied_too(api: Calls) -> None:
    text = b"apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
    answer = await api("PATCH", f"{WEB}?fieldManager=me", raw=text, content_type=APPLY)
    assert answer.status == 201


async def test_what_an_applier_no_longer_says_goes_unless_somebody_else_does(api: Calls) -> None:
    both = web(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], externalIPs=["192.0.2.9"])
    await apply(api, both, "me")
    await apply(api, web(ports=[{"port": 81, "name": "b"}]), "you")
    answer = await apply(api, web(ports=[{"port": 80, "name": "a"}]), "me")
    assert [port["port"] for port in answer.json["spec"]["ports"]] == [80, 81]
    assert "externalIPs" not in answer.json["spec"]
    answer = await apply(api, web(), "you")
    assert [port["port"] for port in answer.json["spec"]["ports"]] == [80]


async def test_a_conflict_names_the_owner_and_the_field(api: Calls) -> None:
    document = service("web", ports=[{"port": 80, "targetPort": 8080}])
    await api("POST", f"{SERVICES}?fieldManager=kubectl", document)
    refused = await apply(api, web(ports=[{"port": 80, "targetPort": 9090}]), "me")
    assert refused.status == 409
    path = '.spec.ports[port=80,protocol="TCP"].targetPort'
    assert refused.json["message"] == f'Apply failed with 1 conflict: conflict with "kubectl" using v1: {path}'
    assert refused.json["reason"] == "Conflict"
    assert refused.json["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": path}
    ]
    several = await apply(api, web(type="NodePort", ports=[{"port": 80, "targetPort": 9090}]), "me")
    assert several.json["message"] == (
        f'Apply failed with 2 conflicts: conflicts with "kubectl" using v1:\n- .spec.type\n- {path}'
    )


async def test_force_takes_the_field_from_its_owner(api: Calls) -> None:
    await apply(api, web(ports=[{"port": 80, "targetPort": 8080}]), "you")
    assert (await apply(api, web(ports=[{"port": 80, "targetPort": 9090}]), "me")).status == 409
    forced = await apply(api, web(ports=[{"port": 80, "targetPort": 9090}]), "me", more="&force=true")
    assert forced.json["spec"]["ports"][0]["targetPort"] == 9090
    step = 'k:{"port":80,"protocol":"TCP"}'
    assert "f:targetPort" in owners(forced)["me", "Apply"]["f:spec"]["f:ports"][step]
    assert "f:targetPort" not in owners(forced)["you", "Apply"]["f:spec"]["f:ports"][step]


async def test_the_same_value_is_no_conflict_but_shared(api: Calls) -> None:
    for manager in ("you", "me"):
        answer = await apply(api, web(ports=[{"port": 80}], sessionAffinity="ClientIP"), manager)
        assert answer.status in (200, 201)
    kept = await apply(api, web(ports=[{"port": 80}]), "me")
    assert kept.json["spec"]["sessionAffinity"] == "ClientIP"


async def test_every_writer_is_an_owner_by_its_parameter_or_its_agent(api: Calls) -> None:
    created = await api("POST", SERVICES, service("web"), agent="kr8s/0.20 (linux)")
    assert "f:type" in owners(created)["kr8s", "Update"]["f:spec"]
    assert "f:clusterIP" not in owners(created)["kr8s", "Update"]["f:spec"]
    patched = await api("PATCH", f"{WEB}?fieldManager=p", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert owners(patched)["p", "Update"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}
    document = patched.json
    document["spec"]["sessionAffinity"] = "ClientIP"
    replaced = await api("PUT", f"{WEB}?fieldManager=r", document)
    assert "f:sessionAffinity" in owners(replaced)["r", "Update"]["f:spec"]
    assert "f:sessionAffinity" not in owners(replaced)["kr8s", "Update"]["f:spec"]


async def test_an_update_that_changes_nothing_owns_nothing(api: Calls) -> None:
    created = await api("POST", f"{SERVICES}?fieldManager=c", service("web"))
    again = await api("PUT", f"{WEB}?fieldManager=r", created.json)
    assert again.json == created.json


async def test_what_is_removed_has_no_owner(api: Calls) -> None:
    await api("POST", f"{SERVICES}?fieldManager=c", service("web", externalIPs=["192.0.2.9"]))
    answer = await api("PATCH", f"{WEB}?fieldManager=p", {"spec": {"externalIPs": None}}, content_type=MERGE)
    assert list(owners(answer)) == [("c", "Update")]
    assert "f:externalIPs" not in owners(answer)["c", "Update"]["f:spec"]


async def test_the_status_has_owners_of_its_own(api: Calls) -> None:
    await api("POST", f"{SERVICES}?fieldManager=c", service("web", type="LoadBalancer"))
    status = {**web(), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    answer = await apply(api, status, "lb", path=f"{WEB}/status")
    assert answer.json["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"
    entry = next(one for one in answer.json["metadata"]["managedFields"] if one["manager"] == "lb")
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}
    ignored = await apply(api, {**web(), "status": {"loadBalancer": {}}}, "lb")
    assert ignored.json["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"


async def test_the_scale_can_be_applied(api: Calls) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "i"}]}}
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    await apply(api, document, "me", path=DEPLOYMENT)
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 3}}
    refused = await apply(api, scale, "hpa", path=f"{DEPLOYMENT}/scale")
    assert refused.json["message"] == 'Apply failed with 1 conflict: conflict with "me": .spec.replicas'
    forced = await apply(api, scale, "hpa", path=f"{DEPLOYMENT}/scale", more="&force=1")
    assert forced.json["spec"]["replicas"] == 3
    found = await api("GET", DEPLOYMENT)
    assert owners(found)["hpa", "Apply"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(found)["me", "Apply"]["f:spec"]


async def test_one_empty_entry_resets_the_owners(api: Calls) -> None:
    await apply(api, web(ports=[{"port": 80}]), "me")
    kept = await api("PATCH", WEB, {"metadata": {"managedFields": []}}, content_type=MERGE)
    assert owners(kept)
    path = "/metadata/managedFields"
    reset = await api("PATCH", WEB, [{"op": "replace", "path": path, "value": [{}]}], content_type=JSON_PATCH)
    assert owners(reset) == {}
    applied = await apply(api, web(ports=[{"port": 80, "name": "x"}]), "me")
    assert "1 conflict" not in applied.json.get("message", "")
    assert ("before-first-apply", "Update") in owners(applied)


async def test_owners_may_be_rewritten_but_not_into_nonsense(api: Calls) -> None:
    created = await api("POST", f"{SERVICES}?fieldManager=old", service("web"))
    document = created.json
    document["metadata"]["managedFields"][0]["manager"] = "new"
    assert list(owners(await api("PUT", WEB, document))) == [("new", "Update")]
    document["metadata"]["managedFields"] = [{"operation": "Perhaps"}]
    document["metadata"].pop("resourceVersion")
    assert list(owners(await api("PUT", WEB, document))) == [("new", "Update")]


async def test_kubectl_takes_over_what_it_applied_before(api: Calls) -> None:
    last = web(ports=[{"port": 80, "targetPort": 8080}])
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    document = {**last, "metadata": {"name": "web", "annotations": {annotation: json.dumps(last)}}}
    await api("POST", f"{SERVICES}?fieldManager=kubectl-client-side-apply", document)
    changed = web(ports=[{"port": 80, "targetPort": 9090}])
    assert (await apply(api, changed, "other")).status == 409
    taken = await apply(api, changed, "kubectl")
    assert taken.json["spec"]["ports"][0]["targetPort"] == 9090
    assert json.loads(taken.json["metadata"]["annotations"][annotation])["spec"] == changed["spec"]


async def test_a_dry_run_tells_and_changes_nothing(api: Calls) -> None:
    answer = await apply(api, web(ports=[{"port": 80}]), "me", more="&dryRun=All")
    assert answer.status == 201
    assert answer.json["spec"]["clusterIP"]
    assert (await api("GET", WEB)).status == 404


@pytest.mark.parametrize(
    "query, document, status, words",
    [
        ("", web(), 422, "fieldManager: Required value: is required for apply patch"),
        ("?fieldManager=" + "x" * 129, web(), 422, "fieldManager: Too long"),
        ("?fieldManager=m", {**web(), "apiVersion": "v2"}, 400, "incorrect version specified in apply patch"),
        ("?fieldManager=m", web(colour="red"), 400, ".spec.colour: field not declared in schema"),
        ("?fieldManager=m", web(ports=[{"port": 80}, {"port": 80}]), 400, "duplicate entries for key"),
        ("?fieldManager=m", web(ports="80"), 400, "cannot unmarshal string"),
        (
            "?fieldManager=m",
            {**web(), "metadata": {"name": "web", "managedFields": [{"manager": "x"}]}},
            400,
            "metadata.managedFields must be nil",
        ),
        ("?fieldManager=m", {**web(), "metadata": {"name": "other"}}, 400, "does not match"),
        ("?fieldManager=m", {**web(), "metadata": {"name": "web", "uid": "1"}}, 409, "uid mismatch"),
    ],
)
async def test_an_apply_that_makes_no_sense_is_refused(
    api: Calls, query: str, document: Any, status: int, words: str
) -> None:
    answer = await api("PATCH", WEB + query, document, content_type=APPLY)
    assert answer.status == status
    assert words in answer.json["message"]


async def test_force_is_for_applies_only(api: Calls) -> None:
    answer = await api("PATCH", f"{WEB}?force=true", {}, content_type=MERGE)
    assert answer.status == 422
    assert "force: Forbidden: may not be specified for non-apply patch" in answer.json["message"]
