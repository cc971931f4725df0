"""The roles that every cluster has, as the objects that say so: made at a start, and put right when they were changed.

=================================  ==============================  ================================================
role                               who has it                      what it is
=================================  ==============================  ================================================
``cluster-admin``                  group ``system:masters``        everything, whatever the stored roles say
``view``                           group ``fairway:viewers``       reads everything but Secrets
``system:node``                    group ``system:nodes``          what a proxy reads; its own Node, Lease, Events
``system:fairway-controllers``     group of the same name          what the controllers read and write
``system:basic-user``              everybody who is known          asks what they may do
``system:discovery``               everybody who is known          learns what is served
``system:public-info-viewer``      everybody                       health and version
=================================  ==============================  ================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.apiserver.access.rules import EVERYTHING, GROUP
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource

MASTERS, NODES, AUTHENTICATED = "system:masters", "system:nodes", "system:authenticated"
UNAUTHENTICATED, ANONYMOUS = "system:unauthenticated", "system:anonymous"
VIEWERS = "fairway:viewers"
CONTROLLERS = "system:fairway-controllers"
NODE_PREFIX = "system:node:"

_READ = ["get", "list", "watch"]
_WRITE = ["create", "update", "patch", "delete", "deletecollection"]
_OPEN_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_SECRET = {resources.SECRETS, resources.ROLES, resources.ROLE_BINDINGS}
_SECRET |= {resources.CLUSTER_ROLES, resources.CLUSTER_ROLE_BINDINGS}


def builtin(served: Iterable[Resource], subresources: Iterable[tuple[Resource, str]]) -> Iterator[Document]:
    """Every built-in ClusterRole and ClusterRoleBinding, for what is ``served`` with its ``subresources``."""
    served, parts = list(served), list(subresources)
    readable = [one for one in served if one is not resources.SECRETS]
    worked_on = [one for one in served if one not in _SECRET and one is not resources.SERVICE_ACCOUNTS]
    # A token is the ServiceAccount's power: reading or working on ServiceAccounts does not give it.
    yield _role("cluster-admin", _all(), {"nonResourceURLs": [EVERYTHING], "verbs": [EVERYTHING]})
    yield _role("view", *_rules(_READ, readable, [one for one in parts if one[1] != "token"]))
    yield _role("system:node", *_node())
    accounts = _rule([*_READ, "create"], "", resources.SERVICE_ACCOUNTS.plural)
    yield _role(CONTROLLERS, *_rules([*_READ, *_WRITE], worked_on, parts), accounts)
    yield _role("system:basic-user", *_questions())
    yield _role(
        "system:discovery", _paths([*_OPEN_PATHS, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"])
    )
    yield _role("system:public-info-viewer", _paths(_OPEN_PATHS))
    yield _binding("cluster-admin", "cluster-admin", MASTERS)
    yield _binding("view", "view", VIEWERS)
    yield _binding("system:node", "system:node", NODES)
    yield _binding(CONTROLLERS, CONTROLLERS, CONTROLLERS)
    yield _binding("system:basic-user", "system:basic-user", AUTHENTICATED)
    yield _binding("system:discovery", "system:discovery", AUTHENTICATED)
    yield _binding("system:public-info-viewer", "system:public-info-viewer", AUTHENTICATED, UNAUTHENTICATED)


def _all() -> Document:
    return {"apiGroups": [EVERYTHING], "resources": [EVERYTHING], "verbs": [EVERYTHING]}


def _node() -> Iterator[Document]:
    """What the agent of a node does; that it writes only its own is the business of `access.node`."""
    yield _rule(_READ, "", "services", "nodes")
    yield _rule(_READ, "discovery.k8s.io", "endpointslices")
    yield _rule(_READ, "networking.k8s.io", "servicecidrs", "networkpolicies")
    yield _rule(["create", "update", "patch", "delete"], "", "nodes")
    yield _rule(["update", "patch"], "", "nodes/status")
    yield _rule(["get", "create", "update", "patch", "delete"], "coordination.k8s.io", "leases")
    yield _rule(["create", "update", "patch"], "", "events")
    yield _rule(["create", "update", "patch"], "events.k8s.io", "events")


def _questions() -> Iterator[Document]:
    yield _rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
    yield _rule(["create"], "authentication.k8s.io", "selfsubjectreviews")


def _rules(verbs: list[str], kinds: list[Resource], subresources: list[tuple[Resource, str]]) -> Iterator[Document]:
    """One rule for each API group, with the subresources of its kinds."""
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, []).append(kind.plural)
        groups[kind.group] += [f"{kind.plural}/{part}" for of, part in subresources if of is kind]
    for group, names in groups.items():
        yield _rule(verbs, group, *names)


def _rule(verbs: list[str], group: str, *names: str) -> Document:
    return {"apiGroups": [group], "resources": list(names), "verbs": verbs}


def _paths(paths: list[str]) -> Document:
    return {"nonResourceURLs": paths, "verbs": ["get"]}


def _role(name: str, *rules: Document) -> Document:
    return {**_head(resources.CLUSTER_ROLES, name), "rules": list(rules)}


def _binding(name: str, role: str, *groups: str) -> Document:
    return {
        **_head(resources.CLUSTER_ROLE_BINDINGS, name),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
    }


def _head(resource: Resource, name: str) -> Document:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
    }
