"""kubectl apply --server-side against the real server: owners, conflicts, force, and the way to it and back."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Kubectl

pytestmark = pytest.mark.clients

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {team: shop}}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
"""


async def test_two_managers_conflict_until_one_forces(kubectl: Kubectl) -> None:
    out = await kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=WEB)
    assert out == "service/web serverside-applied\n"
    other = WEB.replace("8080", "9090")
    refused = await kubectl.run("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=other)
    assert refused.code == 1
    assert 'conflict with "one": .spec.ports[port=80,protocol="TCP"].targetPort' in refused.err
    assert "--force-conflicts" in refused.err
    arguments = ("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-")
    assert "serverside-applied" in await kubectl(*arguments, stdin=other)
    assert await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "9090"


@pytest.mark.kubectl("1.21", "kubectl get --show-managed-fields")
async def test_owners_are_shown_when_asked_for(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=WEB)
    assert "managedFields" not in await kubectl("get", "svc", "web", "-o", "yaml")
    shown = await kubectl("get", "svc", "web", "-o", "yaml", "--show-managed-fields")
    assert "manager: kubectl" in shown
    assert "operation: Apply" in shown
    assert "f:selector: {}" in shown
    await kubectl("label", "svc", "web", "tier=front", "--field-manager=labeller")
    shown = await kubectl("get", "svc", "web", "-o", "yaml", "--show-managed-fields")
    assert "manager: labeller" in shown


async def test_what_the_file_no_longer_says_goes_and_other_labels_stay(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=WEB)
    await kubectl("label", "svc", "web", "tier=front")
    await kubectl("apply", "--server-side", "-f", "-", stdin=WEB.replace(", labels: {team: shop}", ""))
    assert (await kubectl.get("svc", "web"))["metadata"]["labels"] == {"tier": "front"}


async def test_from_the_client_to_the_server_and_back(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    changed = WEB.replace("8080", "9090")
    assert "serverside-applied" in await kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web configured\n"
    assert await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web unchanged\n"


async def test_diff_and_dry_runs_tell_and_change_nothing(kubectl: Kubectl) -> None:
    created = await kubectl("create", "--dry-run=server", "-o", "jsonpath={.spec.clusterIP}", "-f", "-", stdin=WEB)
    assert created.startswith("10.")
    assert (await kubectl.run("get", "svc", "web")).code == 1
    await kubectl("apply", "--server-side", "-f", "-", stdin=WEB)
    assert (await kubectl.run("diff", "--server-side", "-f", "-", stdin=WEB)).code == 0
    for mode in ((), ("--server-side",)):
        differs = await kubectl.run("diff", *mode, "-f", "-", stdin=WEB.replace("8080", "9090"))
        assert differs.code == 1, differs.err
        assert "-    targetPort: 8080" in differs.out
        assert "+    targetPort: 9090" in differs.out
    await kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=WEB.replace("8080", "9090"))
    assert await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
