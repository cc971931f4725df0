"""kubectl against the API server: every command that a user of Services needs."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.conftest import TIMEOUT, Kubectl, kubectl_version

pytestmark = pytest.mark.clients

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: front}}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: example, ports: [{containerPort: 8080}]}]}
"""


async def test_apply_creates_configures_and_leaves_alone(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web created\ndeployment.apps/web created\n"
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web unchanged\ndeployment.apps/web unchanged\n"
    changed = WEB.replace("port: 80,", "port: 81,").replace("labels: {tier: front}", "labels: {tier: back}")
    assert "service/web configured" in await kubectl("apply", "-f", "-", stdin=changed)
    found = await kubectl.get("service", "web")
    assert [port["port"] for port in found["spec"]["ports"]] == [81]
    assert found["metadata"]["labels"] == {"tier": "back"}


async def test_get_prints_the_columns_people_know(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    head, row = (await kubectl("get", "svc", "web", "-o", "wide")).splitlines()
    assert head.split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert row.split()[0:2] + row.split()[3:5] + row.split()[6:] == ["web", "ClusterIP", "<none>", "80/TCP", "app=web"]
    assert "0/2" in await kubectl("get", "deployments")
    assert await kubectl("get", "svc", "-o", "name") == "service/kubernetes\nservice/web\n"


async def test_get_selects(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    by_label = await kubectl("get", "svc", "-A", "-l", "tier=front", "-o", "name")
    by_field = await kubectl("get", "svc", "--field-selector", "metadata.name=web", "-o", "name")
    assert by_label == by_field == "service/web\n"
    all_of_them = await kubectl("get", "all", "-o", "name")
    assert all_of_them == "service/kubernetes\nservice/web\ndeployment.apps/web\n"


async def test_yaml_comes_back_as_kubernetes_would_give_it(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    text = await kubectl("get", "svc", "web", "-o", "yaml")
    for line in ("  clusterIP: 10.96.", "  internalTrafficPolicy: Cluster", "  sessionAffinity: None", "  - IPv4"):
        assert line in text


async def test_describe_tells_about_a_service(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    lines = [line.split() for line in (await kubectl("describe", "service", "web")).splitlines()]
    assert ["Selector:", "app=web"] in lines
    assert ["TargetPort:", "8080/TCP"] in lines


async def test_create_in_its_own_words(kubectl: Kubectl) -> None:
    assert await kubectl("create", "namespace", "shop") == "namespace/shop created\n"
    await kubectl("-n", "shop", "create", "service", "nodeport", "np", "--tcp=80:8080", "--node-port=30123")
    await kubectl("-n", "shop", "create", "deployment", "web", "--image=example", "--port=8080", "--replicas=0")
    assert await kubectl("-n", "shop", "expose", "deployment", "web", "--port=99") == "service/web exposed\n"
    service = await kubectl.get("-n", "shop", "service", "np")
    assert service["spec"]["ports"][0]["nodePort"] == 30123
    deployment = await kubectl.get("-n", "shop", "deployment", "web")
    assert deployment["spec"]["replicas"] == 0
    exposed = await kubectl.get("-n", "shop", "service", "web")
    assert exposed["spec"]["ports"] == [{"port": 99, "protocol": "TCP", "targetPort": 99}]


async def test_a_namespace_is_deleted_with_what_is_in_it(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "shop")
    await kubectl("-n", "shop", "apply", "-f", "-", stdin=WEB)
    assert await kubectl("delete", "namespace", "shop", "--timeout=30s") == 'namespace "shop" deleted\n'
    assert await kubectl("get", "svc", "-A", "-o", "name") == "service/kubernetes\n"


async def test_edit_changes_what_the_editor_changed(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("edit", "deployment", "web", EDITOR="sed -i s/replicas:.2/replicas:\\ 5/")
    assert (await kubectl.get("deployment", "web"))["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    "kind, patch",
    [
        ("json", '[{"op": "add", "path": "/spec/ports/-", "value": {"name": "b", "port": 81}}]'),
        ("merge", '{"spec": {"ports": [{"name": "http", "port": 80}, {"name": "b", "port": 81}]}}'),
        ("strategic", '{"spec": {"ports": [{"name": "b", "port": 81}]}}'),
    ],
)
async def test_patch_in_three_kinds(kubectl: Kubectl, kind: str, patch: str) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("patch", "service", "web", "--type", kind, "-p", patch)
    found = await kubectl.get("service", "web")
    assert sorted(port["port"] for port in found["spec"]["ports"]) == [80, 81]


@pytest.mark.kubectl("1.23", "kubectl wait --for=jsonpath")
async def test_scale_and_wait(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    assert await kubectl("scale", "deployment", "web", "--replicas=4") == "deployment.apps/web scaled\n"
    waited = await kubectl("wait", "--for=jsonpath={.spec.replicas}=4", "deployment/web", "--timeout=30s")
    assert waited == "deployment.apps/web condition met\n"
    refused = await kubectl.run("scale", "deployment", "web", "--replicas=1", "--current-replicas=9")
    assert refused.code != 0


@pytest.mark.kubectl("1.24", "kubectl patch --subresource")
async def test_rollout_status_follows_the_status(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    following = asyncio.create_task(kubectl("rollout", "status", "deployment/web", "--timeout=50s"))
    counts = '"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2'
    status = f'{{"status": {{"observedGeneration": 1, {counts}}}}}'
    await kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", status)
    assert "successfully rolled out" in await following


async def test_labels_and_annotations(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("label", "service", "web", "tier=back", "--overwrite")
    await kubectl("annotate", "service", "web", "example.com/note=hello world")
    metadata = (await kubectl.get("service", "web"))["metadata"]
    assert metadata["labels"] == {"tier": "back"}
    assert metadata["annotations"]["example.com/note"] == "hello world"


async def test_replace_needs_the_newest_version(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    old = await kubectl("get", "service", "web", "-o", "yaml")
    await kubectl("label", "service", "web", "a=b")
    refused = await kubectl.run("replace", "-f", "-", stdin=old)
    assert refused.code == 1
    assert "the object has been modified" in refused.err


async def test_get_watch_prints_changes(kubectl: Kubectl) -> None:
    process = await kubectl.start("get", "services", "--watch", "-o", "name")
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), TIMEOUT) == b"service/kubernetes\n"
    await kubectl("apply", "-f", "-", stdin=WEB)
    assert await asyncio.wait_for(process.stdout.readline(), TIMEOUT) == b"service/web\n"
    process.terminate()
    await asyncio.wait_for(process.communicate(), TIMEOUT)


async def test_explain_knows_the_fields(kubectl: Kubectl) -> None:
    text = await kubectl("explain", "service.spec.ports")
    # Before 1.27 kubectl reads OpenAPI 2 and does not name the type.
    assert ("<[]ServicePort>" if kubectl_version() >= (1, 27) else "<[]Object>") in text
    assert "nodePort" in text


async def test_api_resources_lists_what_is_served(kubectl: Kubectl) -> None:
    rows = {tuple(line.split()) for line in (await kubectl("api-resources", "--no-headers")).splitlines()}
    assert ("services", "svc", "v1", "true", "Service") in rows
    assert ("endpointslices", "discovery.k8s.io/v1", "true", "EndpointSlice") in rows
    assert ("deployments", "deploy", "apps/v1", "true", "Deployment") in rows


async def test_a_misspelt_field_is_refused_and_named(kubectl: Kubectl) -> None:
    refused = await kubectl.run("apply", "-f", "-", stdin=WEB.replace("targetPort", "tragetPort"))
    # Before 1.27 kubectl itself compares with OpenAPI 2, and names the place apart from the field.
    field = "spec.ports[0].tragetPort" if kubectl_version() >= (1, 27) else "tragetPort"
    assert f'unknown field "{field}"' in refused.err


async def test_a_wrong_value_is_refused_with_its_field(kubectl: Kubectl) -> None:
    refused = await kubectl.run("apply", "-f", "-", stdin=WEB.replace("port: 80,", "port: 80000,"))
    assert 'The Service "web" is invalid: spec.ports[0].port: Invalid value: 80000' in refused.err


async def test_a_server_side_dry_run_stores_nothing(kubectl: Kubectl) -> None:
    text = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=WEB)
    assert text.startswith("service/web created (server dry run)")
    assert await kubectl("get", "svc", "-o", "name") == "service/kubernetes\n"


async def test_diff_shows_what_apply_would_change(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    changed = await kubectl.run("diff", "-f", "-", stdin=WEB.replace("replicas: 2", "replicas: 3"))
    assert changed.code == 1
    assert "+  replicas: 3" in changed.out


async def test_deleting_an_owner_deletes_what_it_owns(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    uid = (await kubectl.get("deployment", "web"))["metadata"]["uid"]
    owned = f"""
apiVersion: v1
kind: Pod
metadata:
  name: owned
  ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: {uid}, blockOwnerDeletion: true}}]
spec: {{containers: [{{name: main, image: example}}]}}
"""
    await kubectl("apply", "-f", "-", stdin=owned)
    await kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    assert await kubectl("get", "pods", "-o", "name") == ""


async def test_without_a_certificate_nobody_gets_in(kubectl: Kubectl) -> None:
    config = await kubectl("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    stranger = ("--server", config, "--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "--token=guessed")
    refused = await kubectl.run(*stranger, "get", "namespaces")
    assert refused.code == 1
    assert "You must be logged in to the server" in refused.err
