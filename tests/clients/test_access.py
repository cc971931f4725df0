"""Who may do what, as kubectl sees it: who am I, may I, tokens, and what a node and a viewer can and cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairway.apiserver.server import ApiServer
from fairway.cli.main import run as fairway
from fairway.client.kubeconfig import Connection, write_kubeconfig
from tests.clients.conftest import Kubectl

pytestmark = pytest.mark.clients

NODE = '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "NAME"}}'
LEASE = """
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: NAME, namespace: kube-node-lease}
spec: {holderIdentity: NAME}
"""
EVENT = """
apiVersion: v1
kind: Event
metadata: {name: started, namespace: default}
involvedObject: {kind: Node, name: node-1}
reason: Started
"""


def somebody(server: ApiServer, tmp_path: Path, user: str, *groups: str) -> Kubectl:
    """kubectl with a kubeconfig made by `fairway kubeconfig`."""
    file = tmp_path / f"{user.replace(':', '-')}.conf"
    who = [f"--user={user}", *(f"--group={group}" for group in groups)]
    assert fairway(["kubeconfig", *who, f"--data-dir={tmp_path / 'data'}", f"--out={file}"]) == 0
    return Kubectl(file, tmp_path)


def with_token(server: ApiServer, tmp_path: Path, token: str) -> Kubectl:
    file = tmp_path / "token.conf"
    authority = (tmp_path / "data" / "pki" / "ca.crt").read_bytes()
    file.write_text(write_kubeconfig(Connection(server.url, authority, token=token)))
    return Kubectl(file, tmp_path)


async def refusal(kubectl: Kubectl, *arguments: str, stdin: str = "") -> str:
    ran = await kubectl.run(*arguments, stdin=stdin)
    assert ran.code == 1, ran.out
    return ran.err


@pytest.mark.kubectl("1.28", "kubectl auth whoami")
async def test_the_administrator_may_do_everything(kubectl: Kubectl) -> None:
    assert "system:masters" in await kubectl("auth", "whoami")
    assert await kubectl("auth", "can-i", "*", "*") == "yes\n"
    assert "*.*" in await kubectl("auth", "can-i", "--list")


@pytest.mark.kubectl("1.28", "kubectl auth whoami")
async def test_a_viewer_reads_everything_but_secrets(server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
    ann = somebody(server, tmp_path, "ann", "fairway:viewers")
    assert "[fairway:viewers system:authenticated]" in await ann("auth", "whoami")
    assert "kubernetes" in await ann("get", "services,nodes,clusterroles", "-A")
    assert (
        'secrets is forbidden: User "ann" cannot list resource "secrets" in API group "" in the namespace "default"'
        in await refusal(ann, "get", "secrets")
    )
    assert (
        'namespaces is forbidden: User "ann" cannot create resource "namespaces" in API group "" at the cluster scope'
        in await refusal(ann, "create", "namespace", "shop")
    )
    assert await ann("auth", "can-i", "list", "services") == "yes\n"
    assert (await ann.run("auth", "can-i", "get", "secrets")).out == "no\n"
    listed = await ann("auth", "can-i", "--list")
    assert "endpointslices.discovery.k8s.io" in listed
    assert "secrets" not in listed


@pytest.mark.kubectl("1.28", "kubectl auth whoami")
async def test_a_token_is_its_service_accounts(server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl("create", "serviceaccount", "bot")
    bot = with_token(server, tmp_path, (await kubectl("create", "token", "bot", "--duration=20m")).strip())
    assert "system:serviceaccount:default:bot" in await bot("auth", "whoami")
    assert 'User "system:serviceaccount:default:bot" cannot list' in await refusal(bot, "get", "pods")
    await kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
    await kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:bot")
    assert "No resources found" in (await bot.run("get", "pods")).err
    assert "forbidden" in await refusal(bot, "get", "pods", "-A")
    await kubectl("delete", "serviceaccount", "bot")
    assert "Unauthorized" in await refusal(bot, "get", "pods")


@pytest.mark.kubectl("1.24", "kubectl create token")
async def test_a_token_for_less_than_ten_minutes_is_not_given_out(kubectl: Kubectl) -> None:
    await kubectl("create", "serviceaccount", "bot")
    assert "may not specify a duration less than 10 minutes" in await refusal(
        kubectl, "create", "token", "bot", "--duration=1m"
    )


async def test_a_node_reads_what_a_proxy_reads_and_writes_its_own(
    server: ApiServer, kubectl: Kubectl, tmp_path: Path
) -> None:
    node = somebody(server, tmp_path, "system:node:node-1", "system:nodes")
    reads = "services,endpointslices,nodes,servicecidrs,networkpolicies"
    assert "kubernetes" in await node("get", reads, "-A")
    for manifest in (NODE, LEASE):
        await node("create", "-f", "-", stdin=manifest.replace("NAME", "node-1"))
        assert "Forbidden" in await refusal(node, "create", "-f", "-", stdin=manifest.replace("NAME", "node-2"))
    await node("create", "-f", "-", stdin=EVENT)
    await node("label", "node", "node-1", "color=blue")
    await kubectl("create", "-f", "-", stdin=NODE.replace("NAME", "node-2"))
    assert 'node "node-1" is not allowed to modify node "node-2"' in await refusal(
        node, "label", "node", "node-2", "color=red"
    )
    for what in (
        ("get", "secrets"),
        ("delete", "service", "kubernetes"),
        ("get", "pods"),
        ("delete", "nodes", "--all"),
    ):
        assert "forbidden" in (await refusal(node, *what)).lower()


@pytest.mark.kubectl("1.28", "kubectl auth whoami")
async def test_somebody_may_act_for_another_only_when_allowed(
    server: ApiServer, kubectl: Kubectl, tmp_path: Path
) -> None:
    assert "ann" in await kubectl("auth", "whoami", "--as=ann", "--as-group=fairway:viewers")
    assert 'User "ann" cannot list resource "secrets"' in await refusal(kubectl, "get", "secrets", "--as=ann")
    bob = somebody(server, tmp_path, "bob", "fairway:viewers")
    assert 'User "bob" cannot impersonate resource "users"' in await refusal(bob, "get", "services", "--as=ann")


async def test_a_role_that_was_taken_away_is_gone(server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
    ann = somebody(server, tmp_path, "ann")
    await kubectl("create", "clusterrolebinding", "ann", "--clusterrole=view", "--user=ann")
    assert "kubernetes" in await ann("get", "services")
    await kubectl("delete", "clusterrolebinding", "ann")
    assert "forbidden" in await refusal(ann, "get", "services")


async def test_a_stranger_learns_the_health_and_nothing_else(server: ApiServer) -> None:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sk", f"{server.url}/healthz", f"{server.url}/api/v1/services", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out.startswith(b"ok{")
    assert b'User \\"system:anonymous\\" cannot list resource \\"services\\"' in out


REVIEW = """
apiVersion: authorization.k8s.io/v1
kind: SubjectAccessReview
spec: {user: ann, groups: ["fairway:viewers"], resourceAttributes: {verb: VERB, resource: services, namespace: default}}
"""


async def test_a_review_is_a_kind_that_can_be_created_and_explained(kubectl: Kubectl) -> None:
    for verb, allowed in (("get", "true"), ("delete", "false")):
        manifest = REVIEW.replace("VERB", verb)
        assert await kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", stdin=manifest) == allowed
    assert "subjectaccessreviews" in await kubectl("api-resources", "--api-group=authorization.k8s.io")
    assert "resourceAttributes" in await kubectl("explain", "subjectaccessreview.spec")
    assert await kubectl("auth", "can-i", "create", "serviceaccounts", "--subresource=token") == "yes\n"
    assert await kubectl("auth", "can-i", "get", "services/proxy") == "yes\n"


ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [""], resources: [pods], verbs: [VERBS]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}
"""


async def test_reconcile_adds_what_is_missing(kubectl: Kubectl) -> None:
    said = await kubectl("auth", "reconcile", "-f", "-", stdin=ROLES.replace("VERBS", "get"))
    assert "role.rbac.authorization.k8s.io/reader reconciled" in said
    await kubectl("auth", "reconcile", "-f", "-", stdin=ROLES.replace("VERBS", "list"))
    for verb in ("get", "list"):
        assert await kubectl("auth", "can-i", verb, "pods", "--as=bob") == "yes\n"
    assert (await kubectl.run("auth", "can-i", "delete", "pods", "--as=bob")).out == "no\n"


async def test_who_may_write_roles_gives_no_more_than_they_have(kubectl: Kubectl) -> None:
    await kubectl("create", "role", "author", "--verb=create,get", "--resource=roles,rolebindings,pods")
    await kubectl("create", "rolebinding", "author", "--role=author", "--user=ann")
    await kubectl("--as=ann", "create", "role", "fine", "--verb=get", "--resource=pods")
    refused = await refusal(kubectl, "--as=ann", "create", "role", "thief", "--verb=get", "--resource=secrets")
    assert "is attempting to grant RBAC permissions not currently held" in refused
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in refused


@pytest.mark.kubectl("1.23", "kubectl wait for a jsonpath")
async def test_an_aggregated_role_is_filled(kubectl: Kubectl) -> None:
    await kubectl("create", "clusterrole", "all", "--aggregation-rule=into=all")
    await kubectl("create", "clusterrole", "part", "--verb=get", "--resource=pods")
    await kubectl("label", "clusterrole", "part", "into=all")
    await kubectl("wait", "clusterrole/all", "--for=jsonpath={.rules[0].resources[0]}=pods", "--timeout=60s")
