"""What the server serves, told to clients: the legacy discovery documents and the aggregated one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairway.apiserver.kinds import Kind, Part

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")

# group and version → what is served of it
Groups = Mapping[tuple[str, str], Sequence[Kind]]


def versions() -> dict[str, Any]:
    """``/api``: the versions of the group without a name."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(groups: Groups) -> dict[str, Any]:
    """``/apis``."""
    found = [group(name, version) for name, version in groups if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(name: str, version: str) -> dict[str, Any]:
    """``/apis/GROUP``; every group has one version."""
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [served], "preferredVersion": served}


def resource_list(kinds: Sequence[Kind]) -> dict[str, Any]:
    """``/api/v1`` or ``/apis/GROUP/VERSION``."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].resource.api_version,
        "resources": [row for kind in kinds for row in _rows(kind)],
    }


def _rows(kind: Kind) -> list[dict[str, Any]]:
    resource = kind.resource
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(kind),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    return [row, *(_part_row(kind, part) for part in _parts(kind))]


def _verbs(kind: Kind) -> list[str]:
    return ["create"] if kind.asked else list(_VERBS)


def _parts(kind: Kind) -> Iterator[Part]:
    """Every subresource of a kind."""
    resource = kind.resource
    for name in kind.subresources:
        if name == "scale":
            yield Part(name, "Scale", _SUBRESOURCE_VERBS, "autoscaling", "v1")
        else:
            verbs = ("update",) if name == "finalize" else _SUBRESOURCE_VERBS
            yield Part(name, resource.kind, verbs, resource.group, resource.version)
    yield from kind.parts


def _part_row(kind: Kind, part: Part) -> dict[str, Any]:
    resource = kind.resource
    row = {
        "name": f"{resource.plural}/{part.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": part.kind,
        "verbs": list(part.verbs),
    }
    if part.group != resource.group:
        row |= {"group": part.group, "version": part.version}
    return row


def aggregated(groups: Groups, version: str, *, core: bool) -> dict[str, Any]:
    """``/api`` (``core``) or ``/apis`` as APIGroupDiscoveryList, ``version`` v2 or v2beta1."""
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [{"version": served, "resources": [_discovered(k) for k in rows], "freshness": "Current"}],
        }
        for (name, served), rows in groups.items()
        if (name == "") is core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _discovered(kind: Kind) -> dict[str, Any]:
    resource = kind.resource
    found: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _verbs(kind),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    parts = [
        {
            "subresource": part.name,
            "responseKind": _kind(part.group, part.version, part.kind),
            "verbs": list(part.verbs),
        }
        for part in _parts(kind)
    ]
    if parts:
        found["subresources"] = parts
    return found


def _kind(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}
