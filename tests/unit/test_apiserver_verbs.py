"""Unit tests of `fairway.apiserver.verbs`: what each verb answers over HTTP."""

from __future__ import annotations

import pytest

from fairway.objects.codec import Document
from tests.unit.api_calls import JSON, JSON_PATCH, MERGE, STRATEGIC, Calls, pod, service, start

SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def api() -> Calls:
    return await start()


async def test_a_created_object_has_its_identity_from_the_server(api: Calls) -> None:
    answer = await api("POST", SERVICES, service("web"))
    assert answer.status == 201
    metadata = answer.json["metadata"]
    assert metadata["namespace"] == "default"
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert answer.json["spec"]["clusterIP"].startswith("10.96.")
    assert (await api("GET", f"{SERVICES}/web")).json == answer.json


async def test_a_second_object_of_a_name_is_refused_in_kubernetes_words(api: Calls) -> None:
    await api("POST", SERVICES, service("web"))
    answer = await api("POST", SERVICES, service("web"))
    assert (answer.status, answer.json["reason"]) == (409, "AlreadyExists")
    assert answer.json["message"] == 'services "web" already exists'


async def test_strict_field_validation_refuses_an_unknown_field(api: Calls) -> None:
    document = service("web")
    document["spec"]["prots"] = []
    answer = await api("POST", f"{SERVICES}?fieldValidation=Strict", document)
    assert answer.status == 400
    assert 'unknown field "spec.prots"' in answer.json["message"]


async def test_a_null_is_the_same_as_no_field(api: Calls) -> None:
    document = service("web")
    document["metadata"]["creationTimestamp"] = None
    document["metadata"]["labels"] = None
    created = await api("POST", SERVICES, document)
    assert created.status == 201
    assert "labels" not in created.json["metadata"]


async def test_a_name_is_generated_from_its_beginning(api: Calls) -> None:
    document = pod("x")
    document["metadata"] = {"generateName": "web-"}
    names = {(await api("POST", PODS, document)).json["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_an_object_without_a_name_is_refused(api: Calls) -> None:
    document = service("x")
    document["metadata"] = {}
    answer = await api("POST", SERVICES, document)
    assert answer.status == 422
    assert answer.json["message"].endswith("metadata.name: Required value: name or generateName is required")


async def test_a_name_cannot_reach_another_place_in_the_storage(api: Calls) -> None:
    answer = await api("POST", PODS, pod("../services/default/kubernetes"))
    assert answer.status == 422


@pytest.mark.parametrize(
    "path, document, message",
    [
        (SERVICES, {"kind": "Pod"}, "does not match the expected kind"),
        (SERVICES, {"metadata": {"name": "a", "namespace": "other"}}, "does not match the namespace"),
        (SERVICES, {"metadata": "text"}, "metadata must be an object"),
        (SERVICES, {**service("a"), "metadata": {"name": "a", "resourceVersion": "1"}}, "should not be set"),
        (SERVICES, service("a", ports=[{"port": "http"}]), "cannot unmarshal string"),
        (SERVICES, service("a", ports="none"), "cannot unmarshal string"),
    ],
)
async def test_a_contradiction_is_a_bad_request(api: Calls, path: str, document: object, message: str) -> None:
    answer = await api("POST", path, document)
    assert answer.status == 400
    assert message in answer.json["message"]


@pytest.mark.parametrize(
    "raw, content_type, status, message",
    [
        (b"{", JSON, 400, "cannot be read"),
        (b"[]", JSON, 400, "cannot be read"),
        (b"", JSON, 400, "no body"),
        (b"\xff\xfe", JSON, 400, "cannot be read"),
        (b"{" * 100_000, JSON, 400, "cannot be read"),
        (b"a: [", "application/yaml", 400, "line 2"),
        (b"{}", "text/plain", 415, "accepted media types"),
        (b"k8s\x00\x0a\xff", "application/vnd.kubernetes.protobuf", 400, "ends in the middle"),
        (b" " * (3 * 1024 * 1024 + 1), JSON, 413, "larger than the limit"),
    ],
)
async def test_a_body_that_cannot_be_read_says_why(
    api: Calls, raw: bytes, content_type: str, status: int, message: str
) -> None:
    answer = await api("POST", SERVICES, raw=raw, content_type=content_type)
    assert answer.status == status
    assert message in answer.json["message"]


async def test_yaml_is_accepted_and_given_back(api: Calls) -> None:
    text = b"kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
    answer = await api("POST", SERVICES, raw=text, content_type="application/yaml", accept="application/yaml")
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/yaml"
    assert b"clusterIP: 10.96." in answer.body


async def test_only_what_can_be_given_is_acceptable(api: Calls) -> None:
    assert (await api("GET", SERVICES, accept="application/vnd.kubernetes.protobuf")).status == 406
    both = await api("GET", SERVICES, accept="application/vnd.kubernetes.protobuf,application/json")
    assert both.headers["content-type"] == JSON


async def test_a_put_of_an_old_version_conflicts(api: Calls) -> None:
    old = (await api("POST", SERVICES, service("web"))).json
    await api("PATCH", f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    answer = await api("PUT", f"{SERVICES}/web", old)
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.json["message"]


async def test_a_put_without_a_version_overwrites(api: Calls) -> None:
    document = (await api("POST", SERVICES, service("web"))).json
    del document["metadata"]["resourceVersion"]
    document["spec"]["selector"] = {"app": "other"}
    answer = await api("PUT", f"{SERVICES}/web", document)
    assert answer.json["spec"]["selector"] == {"app": "other"}


@pytest.mark.reference("5.7 put creates")
async def test_a_put_creates_a_service_but_no_pod(api: Calls) -> None:
    assert (await api("PUT", f"{SERVICES}/web", service("web"))).status == 201
    assert (await api("PUT", f"{PODS}/web", pod("web"))).status == 404


async def test_an_update_that_changes_nothing_writes_nothing(api: Calls) -> None:
    before = (await api("POST", SERVICES, service("web"))).json
    after = (await api("PUT", f"{SERVICES}/web", before)).json
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


@pytest.mark.reference("5.2 rule 22")
async def test_a_uid_that_is_not_the_objects_conflicts(api: Calls) -> None:
    document = (await api("POST", SERVICES, service("web"))).json
    document["metadata"]["uid"] = "another"
    answer = await api("PUT", f"{SERVICES}/web", document)
    assert answer.status == 409
    assert "UID in precondition: another" in answer.json["message"]


@pytest.mark.reference("5.2 status")
async def test_status_and_spec_are_written_apart(api: Calls) -> None:
    await api("POST", PODS, pod("a"))
    status = {"status": {"phase": "Running"}, "spec": {"nodeName": "sneaked"}}
    by_status = (await api("PATCH", f"{PODS}/a/status", status, content_type=STRATEGIC)).json
    assert by_status["status"]["phase"] == "Running"
    assert "nodeName" not in by_status["spec"]
    sneaky = {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Failed"}}
    by_spec = (await api("PATCH", f"{PODS}/a", sneaky, content_type=STRATEGIC)).json
    assert by_spec["status"]["phase"] == "Running"
    assert by_spec["metadata"]["labels"] == {"x": "y"}


async def test_a_change_of_the_spec_counts_as_a_generation(api: Calls) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod("x")["spec"]}
    deployment = {
        "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
    }
    assert (await api("POST", path, deployment)).json["metadata"]["generation"] == 1
    labels = await api("PATCH", f"{path}/a", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    assert labels.json["metadata"]["generation"] == 1
    replicas = await api("PATCH", f"{path}/a", {"spec": {"replicas": 3}}, content_type=MERGE)
    assert replicas.json["metadata"]["generation"] == 2


async def test_the_scale_of_a_deployment_reads_and_writes_its_replicas(api: Calls) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod("x")["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    await api("POST", path, {"metadata": {"name": "a"}, "spec": spec})
    scale = (await api("GET", f"{path}/a/scale")).json
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=a")
    scale["spec"]["replicas"] = 5
    assert (await api("PUT", f"{path}/a/scale", scale)).json["spec"]["replicas"] == 5
    assert (await api("PUT", f"{path}/a/scale", scale)).status == 409
    patched = await api("PATCH", f"{path}/a/scale", {"spec": {"replicas": 1}}, content_type=MERGE)
    assert patched.json["spec"]["replicas"] == 1
    negative = await api("PATCH", f"{path}/a/scale", {"spec": {"replicas": -1}}, content_type=MERGE)
    assert negative.status == 422
    assert (await api("GET", f"{path}/a")).json["spec"]["replicas"] == 1


@pytest.mark.reference("5.5 dry run")
async def test_a_dry_run_changes_nothing(api: Calls) -> None:
    before = api.app.registry.storage.revision
    assert (await api("POST", f"{SERVICES}?dryRun=All", service("web"))).status == 201
    assert (await api("GET", f"{SERVICES}/web")).status == 404
    assert (await api("DELETE", f"{SERVICES}/kubernetes?dryRun=All")).status == 200
    assert api.app.registry.storage.revision == before


@pytest.mark.reference("5.5 release", "5.6 release")
async def test_deleting_gives_addresses_and_ports_back(api: Calls) -> None:
    created = await api("POST", SERVICES, service("a", type="NodePort", clusterIP="10.96.7.7"))
    port = created.json["spec"]["ports"][0]["nodePort"]
    again = service("b", type="NodePort", clusterIP="10.96.7.7", ports=[{"port": 80, "nodePort": port}])
    refused = await api("POST", SERVICES, again)
    assert refused.status == 422
    assert "10.96.7.7" in refused.json["message"]
    assert (await api("DELETE", f"{SERVICES}/a")).status == 200
    assert (await api("POST", SERVICES, again)).status == 201


async def test_delete_preconditions_are_kept(api: Calls) -> None:
    await api("POST", SERVICES, service("web"))
    answer = await api("DELETE", f"{SERVICES}/web", {"preconditions": {"uid": "another"}})
    assert answer.status == 409
    assert (await api("GET", f"{SERVICES}/web")).status == 200


@pytest.mark.parametrize(
    "options, problem",
    [
        (
            {"propagationPolicy": "Maybe"},
            'propagationPolicy: Unsupported value: "Maybe": '
            'supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        (
            {"propagationPolicy": "Orphan", "orphanDependents": False},
            'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
        ),
        ({"dryRun": ["Some"]}, 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
    ],
)
async def test_delete_options_that_make_no_sense_are_refused(api: Calls, options: Document, problem: str) -> None:
    answer = await api("DELETE", f"{SERVICES}/kubernetes", options)
    assert answer.status == 422
    assert answer.json["message"] == f'DeleteOptions.meta.k8s.io "" is invalid: {problem}'


async def test_what_goes_at_once_comes_back_as_it_was(api: Calls) -> None:
    created = await api("POST", SERVICES, service("web"))
    gone = await api("DELETE", f"{SERVICES}/web")
    assert {**gone.json, "metadata": {**gone.json["metadata"], "resourceVersion": ""}} == {
        **created.json,
        "metadata": {**created.json["metadata"], "resourceVersion": ""},
    }


async def test_a_finalizer_keeps_an_object_until_it_is_taken_away(api: Calls) -> None:
    document = service("web")
    document["metadata"]["finalizers"] = ["example.com/hold"]
    await api("POST", SERVICES, document)
    marked = (await api("DELETE", f"{SERVICES}/web")).json
    assert marked["metadata"]["deletionTimestamp"]
    added = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert (await api("PATCH", f"{SERVICES}/web", added, content_type=MERGE)).status == 422
    await api("PATCH", f"{SERVICES}/web", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert (await api("GET", f"{SERVICES}/web")).status == 404


async def test_a_running_pod_terminates_until_its_node_lets_it_go(api: Calls) -> None:
    document = pod("a")
    document["spec"]["nodeName"] = "one"
    await api("POST", PODS, document)
    terminating = (await api("DELETE", f"{PODS}/a")).json
    assert terminating["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await api("GET", f"{PODS}/a")).json["metadata"]["deletionTimestamp"]
    await api("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
    assert (await api("GET", f"{PODS}/a")).status == 404


async def test_a_pod_without_a_node_goes_at_once(api: Calls) -> None:
    await api("POST", PODS, pod("a"))
    await api("DELETE", f"{PODS}/a")
    assert (await api("GET", f"{PODS}/a")).status == 404


async def test_deleting_a_collection_deletes_what_the_selector_selects(api: Calls) -> None:
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        await api("POST", PODS, pod(name, labels={"tier": tier}))
    gone = await api("DELETE", f"{PODS}?labelSelector=tier%3Dx")
    assert [item["metadata"]["name"] for item in gone.json["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in (await api("GET", PODS)).json["items"]] == ["c"]


async def test_the_permanent_namespaces_stay(api: Calls) -> None:
    answer = await api("DELETE", "/api/v1/namespaces/default")
    assert answer.status == 403


async def test_an_unknown_namespace_takes_nothing(api: Calls) -> None:
    answer = await api("POST", "/api/v1/namespaces/nowhere/services", service("web"))
    assert answer.status == 404
    assert answer.json["message"] == 'namespaces "nowhere" not found'


async def test_a_terminating_namespace_takes_nothing_new(api: Calls) -> None:
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await api("DELETE", "/api/v1/namespaces/shop")
    found = (await api("GET", "/api/v1/namespaces/shop")).json
    assert found["status"]["phase"] == "Terminating"
    answer = await api("POST", "/api/v1/namespaces/shop/services", service("web"))
    assert answer.status == 403
    assert "because it is being terminated" in answer.json["message"]


async def test_a_terminating_namespace_is_finalized(api: Calls) -> None:
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    document = (await api("DELETE", "/api/v1/namespaces/shop")).json
    document["spec"] = {"finalizers": []}
    assert (await api("PUT", "/api/v1/namespaces/shop/finalize", document)).status == 200
    assert (await api("GET", "/api/v1/namespaces/shop")).status == 404


@pytest.mark.parametrize(
    "content_type, patch, expected",
    [
        (JSON_PATCH, [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}], [81]),
        (MERGE, {"spec": {"ports": [{"port": 82}]}}, [82]),
        (STRATEGIC, {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 83, "name": "b"}]}}, [80, 83]),
    ],
)
async def test_the_three_kinds_of_patch(api: Calls, content_type: str, patch: object, expected: list[int]) -> None:
    await api("POST", SERVICES, service("web"))
    answer = await api("PATCH", f"{SERVICES}/web", patch, content_type=content_type)
    assert [port["port"] for port in answer.json["spec"]["ports"]] == expected


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/api/v1/nonsense", 404),
        ("GET", "/apis/nobody.example/v1/things", 404),
        ("GET", "/api/v1/services/web", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", f"{SERVICES}/web/log", 404),
        ("GET", f"{SERVICES}/web", 404),
        ("POST", f"{SERVICES}/web", 405),
        ("PUT", SERVICES, 405),
        ("DELETE", f"{PODS}/a/status", 405),
        ("POST", "/version", 405),
        ("GET", f"{SERVICES}?limit=many", 400),
        ("GET", f"{SERVICES}?labelSelector=%3D%3D", 400),
        ("GET", f"{SERVICES}?fieldSelector=spec.nothing%3D1", 400),
        ("GET", f"{SERVICES}?resourceVersion=new", 400),
        ("GET", f"{SERVICES}?continue=guess", 400),
        ("GET", f"{SERVICES}?watch=maybe", 400),
        ("GET", f"{SERVICES}?watch=1&sendInitialEvents=true", 422),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(api: Calls, method: str, path: str, status: int) -> None:
    answer = await api(method, path)
    assert answer.status == status
    assert answer.json["kind"] == "Status"


@pytest.mark.reference("5.5 default service")
async def test_default_kubernetes_is_there_from_the_start(api: Calls) -> None:
    found = (await api("GET", f"{SERVICES}/kubernetes")).json
    assert found["spec"]["clusterIP"] == "10.96.0.1"
    slices = await api("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert slices.json["endpoints"][0]["addresses"] == ["192.0.2.1"]


@pytest.mark.reference("5.7 delete")
async def test_a_deleted_service_is_shown_once_more_and_others_are_only_told_to_be_gone(api: Calls) -> None:
    await api("POST", SERVICES, service("web"))
    gone = (await api("DELETE", f"{SERVICES}/web")).json
    assert (gone["kind"], gone["metadata"]["name"]) == ("Service", "web")
    maps = "/api/v1/namespaces/default/configmaps"
    made = (await api("POST", maps, {"metadata": {"name": "settings"}})).json
    answer = (await api("DELETE", f"{maps}/settings")).json
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "settings", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    await api("POST", maps, {"metadata": {"name": "held", "finalizers": ["example.com/mine"]}})
    waits = (await api("DELETE", f"{maps}/held")).json
    assert (waits["kind"], "deletionTimestamp" in waits["metadata"]) == ("ConfigMap", True)
