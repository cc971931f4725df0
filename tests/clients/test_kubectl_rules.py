"""kubectl against the rules: what it explains, checks, merges and prints, and what it is told when it is wrong.

Written for every kubectl from 1.20 (Debian 12's, which knows OpenAPI 2 only and checks manifests itself) on.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fairway.apiserver.server import ApiServer
from fairway.apiserver.settings import Settings

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]

Kubectl = Callable[..., Awaitable[tuple[int, str]]]

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.80
  selector: {app: web}
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, nodePort: 30053}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "a:1"}
      - {name: b, image: "b:1"}
"""


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    """Run kubectl against a server of its own; answers with the exit code and everything it printed."""
    settings = Settings(data_directory=tmp_path / "data", storage="memory", port=0)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    async with ApiServer(settings) as server:
        environment["KUBECONFIG"] = str(server.kubeconfig)

        async def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *arguments,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), timeout=60)
            assert process.returncode is not None
            return process.returncode, output.decode()

        yield run


async def test_explain_names_every_field_with_its_type(kubectl: Kubectl) -> None:
    code, output = await kubectl("explain", "service.spec.ports", "--recursive")
    assert code == 0, output
    listed = [line.split() for line in output.partition("FIELDS:")[2].splitlines() if line.strip()]
    assert [line[:2] for line in listed] == [
        ["appProtocol", "<string>"],
        ["name", "<string>"],
        ["nodePort", "<integer>"],
        ["port", "<integer>"],
        ["protocol", "<string>"],
        ["targetPort", "<IntOrString>" if "<IntOrString>" in output else "<string>"],
    ]


@pytest.mark.parametrize("what", ["endpointslice.endpoints.conditions", "deployment.spec.strategy", "pod.spec.volumes"])
async def test_explain_knows_the_other_kinds(kubectl: Kubectl, what: str) -> None:
    code, output = await kubectl("explain", what)
    assert code == 0, output
    assert "DESCRIPTION:" in output


async def test_applying_twice_changes_nothing(kubectl: Kubectl) -> None:
    manifest = f"{SERVICE}---{DEPLOYMENT}"
    assert await kubectl("apply", "-f", "-", stdin=manifest) == (
        0,
        "service/web created\ndeployment.apps/web created\n",
    )
    assert await kubectl("apply", "-f", "-", stdin=manifest) == (
        0,
        "service/web unchanged\ndeployment.apps/web unchanged\n",
    )


async def test_apply_merges_containers_by_their_names(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("a:1", "a:2"))
    _, images = await kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert images == "a:2 b:1"


async def test_a_rehearsal_stores_nothing(kubectl: Kubectl) -> None:
    code, output = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=SERVICE)
    assert (code, output) == (0, "service/web created (server dry run)\n")
    code, output = await kubectl("get", "service", "web")
    assert code == 1
    assert 'services "web" not found' in output


async def test_the_table_of_services(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SERVICE)
    _, output = await kubectl("get", "svc", "web", "-o", "wide")
    header, row = (line.split() for line in output.splitlines())
    assert header == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert row[:5] == ["web", "NodePort", "10.96.0.80", "<none>", "80:30080/TCP,53:30053/UDP"]
    assert row[6] == "app=web"


async def test_a_field_that_is_not_there_is_refused(kubectl: Kubectl) -> None:
    code, output = await kubectl("apply", "-f", "-", stdin=SERVICE.replace("port: 80,", "port: 80, prot: 81,"))
    assert code == 1
    # an old kubectl finds it by itself: unknown field "prot" in io.k8s.api.core.v1.ServicePort
    assert 'unknown field "spec.ports[0].prot"' in output or 'spec.ports[0]): unknown field "prot"' in output


async def test_a_field_that_is_not_there_can_be_warned_about(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SERVICE)
    code, output = await kubectl("patch", "service", "web", "-p", '{"spec":{"prots":1}}')
    assert code == 0
    assert 'Warning: unknown field "spec.prots"' in output


async def test_a_value_of_the_wrong_type_is_refused(kubectl: Kubectl) -> None:
    wrong = SERVICE.replace("port: 80,", "port: abc,")
    code, output = await kubectl("apply", "--validate=false", "-f", "-", stdin=wrong)
    assert code == 1
    assert "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32" in output


async def test_everything_that_is_wrong_is_listed(kubectl: Kubectl) -> None:
    wrong = SERVICE.replace("port: 80,", "port: 0, targetPort: x_y,")
    code, output = await kubectl("apply", "-f", "-", stdin=wrong)
    assert code == 1
    assert output.splitlines() == [
        'The Service "web" is invalid: ',
        "* spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        '* spec.ports[0].targetPort: Invalid value: "x_y": '
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    ]


async def test_an_address_belongs_to_one_service(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SERVICE)
    code, output = await kubectl("create", "service", "clusterip", "other", "--clusterip=10.96.0.80", "--tcp=80")
    assert code == 1
    assert "failed to allocate IP 10.96.0.80: provided IP is already allocated" in output
    assert (await kubectl("delete", "service", "web"))[0] == 0
    code, output = await kubectl("create", "service", "clusterip", "other", "--clusterip=10.96.0.80", "--tcp=80")
    assert code == 0, output


async def test_a_deprecated_value_is_warned_about(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SERVICE)
    code, output = await kubectl("patch", "service", "web", "-p", '{"spec":{"trafficDistribution":"PreferClose"}}')
    assert code == 0
    assert 'Warning: spec.trafficDistribution: "PreferClose" is deprecated, use "PreferSameZone" instead' in output


async def test_the_address_of_a_load_balancer_is_for_the_proxy_unless_it_says_otherwise(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=SERVICE.replace("NodePort", "LoadBalancer"))
    raw = "/api/v1/namespaces/default/services/web"
    _, stored = await kubectl("get", "--raw", raw)
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    changed = json.dumps(json.loads(stored) | {"status": status})
    code, output = await kubectl("replace", "--raw", f"{raw}/status", "-f", "-", stdin=changed)
    assert code == 0, output
    assert json.loads(output)["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    _, table = await kubectl("get", "svc", "web")
    assert table.splitlines()[1].split()[3] == "192.0.2.1"
