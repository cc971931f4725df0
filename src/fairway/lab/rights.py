"""What the pods' node agent of a lab may do: it is the kubelet of every node at once, and nobody's administrator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.client.http import Client
from fairway.controllers.heartbeat import NAMESPACE as LEASES_NAMESPACE
from fairway.objects.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource

RUNNER = "fairway:lab-pods"
_GROUP = "rbac.authorization.k8s.io"


async def grant(client: Client) -> None:
    """Let the agent do its work; call once, before it starts. Raises `ApiError`."""
    for resource, document in _documents():
        await client.create(resource, document)


def _documents() -> Iterator[tuple[Resource, dict[str, Any]]]:
    cluster_wide = [
        _rule(["get", "list", "watch"], "", "pods", "nodes"),
        _rule(["delete"], "", "pods"),
        _rule(["patch"], "", "pods/status"),
    ]
    leases = [_rule(["create", "patch"], "coordination.k8s.io", "leases")]
    for roles, bindings, namespace, rules in (
        (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, {}, cluster_wide),
        (ROLES, ROLE_BINDINGS, {"namespace": LEASES_NAMESPACE}, leases),
    ):
        metadata = {"name": RUNNER, **namespace}
        yield roles, {"metadata": metadata, "rules": rules}
        reference = {"apiGroup": _GROUP, "kind": roles.kind, "name": RUNNER}
        subject = {"apiGroup": _GROUP, "kind": "User", "name": RUNNER}
        yield bindings, {"metadata": metadata, "roleRef": reference, "subjects": [subject]}


def _rule(verbs: list[str], group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs}
