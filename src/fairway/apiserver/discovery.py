"""What the server serves, told to clients: the legacy discovery documents and the aggregated one."""

from __future__ import annotations

from typing import Any

from fairway.apiserver.kinds import Kind, Kinds

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")
_FORWARDED_VERBS = ("create", "delete", "get", "patch", "update")
_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def versions() -> dict[str, Any]:
    """``/api``: the versions of the group without a name."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(kinds: Kinds) -> dict[str, Any]:
    """``/apis``."""
    groups = [group(name, version) for name, version in kinds.groups if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(name: str, version: str) -> dict[str, Any]:
    """``/apis/GROUP``; every group has one version."""
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [served], "preferredVersion": served}


def resource_list(kinds: list[Kind]) -> dict[str, Any]:
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
        "verbs": list(_VERBS),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    rows = [row, *(_subresource_row(kind, name) for name in kind.subresources)]
    if kind.forwarded:
        rows.append(
            {
                "name": f"{resource.plural}/proxy",
                "singularName": "",
                "namespaced": True,
                "kind": f"{resource.kind}ProxyOptions",
                "verbs": list(_FORWARDED_VERBS),
            }
        )
    return rows


def _subresource_row(kind: Kind, name: str) -> dict[str, Any]:
    row = {
        "name": f"{kind.resource.plural}/{name}",
        "singularName": "",
        "namespaced": kind.resource.namespaced,
        "kind": kind.resource.kind,
        "verbs": list(_SUBRESOURCE_VERBS),
    }
    if name == "finalize":
        row["verbs"] = ["update"]
    return {**row, **_SCALE} if name == "scale" else row


def aggregated(kinds: Kinds, version: str, *, core: bool) -> dict[str, Any]:
    """``/api`` (``core``) or ``/apis`` as APIGroupDiscoveryList, ``version`` v2 or v2beta1."""
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [{"version": served, "resources": [_discovered(k) for k in rows], "freshness": "Current"}],
        }
        for (name, served), rows in kinds.groups.items()
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
        "verbs": list(_VERBS),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    parts = [
        {
            "subresource": name,
            "responseKind": dict(_SCALE) if name == "scale" else found["responseKind"],
            "verbs": ["update"] if name == "finalize" else list(_SUBRESOURCE_VERBS),
        }
        for name in kind.subresources
    ]
    if kind.forwarded:
        options = _kind(resource.group, resource.version, f"{resource.kind}ProxyOptions")
        parts.append({"subresource": "proxy", "responseKind": options, "verbs": list(_FORWARDED_VERBS)})
    if parts:
        found["subresources"] = parts
    return found


def _kind(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}
