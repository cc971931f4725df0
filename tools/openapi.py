"""Make the schemas that the API server ships: ``make openapi``.

The development dependency kubernetes-validate carries the definitions of a whole Kubernetes. This takes the kinds that
Fairway serves and the types they reach, undoes what that package did to them for JSON Schema (optional types as
``["string", "null"]``, fixed ``apiVersion`` and ``kind``), and writes one file an API group, sorted, so that the next
version of Kubernetes shows as a readable diff.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate

RELEASE = "v1.37.0-local"
TARGET = Path(__file__).parent.parent / "src" / "fairway" / "apiserver" / "schemas"
PREFIX = "#/$defs/"

CORE, APPS, DISCOVERY = "io.k8s.api.core.v1.", "io.k8s.api.apps.v1.", "io.k8s.api.discovery.v1."
COORDINATION, EVENTS = "io.k8s.api.coordination.v1.", "io.k8s.api.events.v1."
NETWORKING, RBAC = "io.k8s.api.networking.v1.", "io.k8s.api.rbac.v1."
AUTHENTICATION, AUTHORIZATION = "io.k8s.api.authentication.v1.", "io.k8s.api.authorization.v1."
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
KINDS = {
    CORE: (
        "ConfigMap",
        "Endpoints",
        "Event",
        "Namespace",
        "Node",
        "Pod",
        "Secret",
        "Service",
        "ServiceAccount",
    ),
    APPS: ("Deployment", "ReplicaSet"),
    COORDINATION: ("Lease",),
    DISCOVERY: ("EndpointSlice",),
    EVENTS: ("Event",),
    NETWORKING: ("IPAddress", "NetworkPolicy", "ServiceCIDR"),
    RBAC: ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
}
ALONE = (
    "io.k8s.api.autoscaling.v1.Scale",
    AUTHENTICATION + "SelfSubjectReview",
    AUTHENTICATION + "TokenRequest",
    AUTHENTICATION + "TokenReview",
    AUTHORIZATION + "LocalSubjectAccessReview",
    AUTHORIZATION + "SelfSubjectAccessReview",
    AUTHORIZATION + "SelfSubjectRulesReview",
    AUTHORIZATION + "SubjectAccessReview",
    META + "DeleteOptions",
    META + "Patch",
    META + "Status",
    META + "WatchEvent",
)

Schema = dict[str, Any]


def main() -> None:
    definitions = source()
    roots = [prefix + kind + suffix for prefix, kinds in KINDS.items() for kind in kinds for suffix in ("", "List")]
    reached = reach(definitions, [*roots, *ALONE])
    files: dict[str, dict[str, Schema]] = {}
    for name in sorted(reached):
        files.setdefault(file_name(name), {})[name] = plain(definitions[name])
    TARGET.mkdir(exist_ok=True)
    for name, schemas in files.items():
        path = TARGET / name
        path.write_text(json.dumps(schemas, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        print(f"{path.name}: {len(schemas)} types, {path.stat().st_size // 1024} KiB")


def source() -> dict[str, Schema]:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / RELEASE
    found: dict[str, Schema] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


def reach(definitions: dict[str, Schema], roots: list[str]) -> set[str]:
    """The names of the roots and of every type that one of them mentions, however deep."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[name]))
    return found


def file_name(name: str) -> str:
    """``io.k8s.api.core.v1.Service`` belongs into ``core.v1.json``, what all groups share into ``meta.json``."""
    match = re.fullmatch(r"io\.k8s\.api\.(\w+\.\w+)\.\w+", name)
    return f"{match[1]}.json" if match else "meta.json"


def plain(schema: Schema) -> Schema:
    """A schema as Kubernetes publishes it."""
    return {key: _VALUES.get(key, same)(value) for key, value in schema.items() if not is_fixed(key, schema)}


def is_fixed(key: str, schema: Schema) -> bool:
    """Whether this is the one ``apiVersion`` or ``kind`` that the package allows."""
    fixed = schema.get("description", "").startswith(("APIVersion defines the versioned", "Kind is a string value"))
    return key == "enum" and fixed


def same(value: Any) -> Any:
    return value


def required_type(value: str | list[str]) -> str:
    return value if isinstance(value, str) else next(one for one in value if one != "null")


def kinds(value: list[Schema]) -> list[Schema]:
    """DeleteOptions and the like belong to every group; name only those that are served."""
    served = {
        "",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
    }
    return [one for one in value if one["group"] in served and one["version"] == "v1"]


_VALUES = {
    "type": required_type,
    "$ref": lambda value: "#/components/schemas/" + value.removeprefix(PREFIX),
    "properties": lambda value: {name: plain(one) for name, one in value.items()},
    "items": plain,
    "additionalProperties": lambda value: plain(value) if isinstance(value, dict) else value,
    "oneOf": lambda value: [plain(one) for one in value],
    "enum": lambda value: [one for one in value if one is not None],
    "x-kubernetes-group-version-kind": kinds,
}


if __name__ == "__main__":
    main()
