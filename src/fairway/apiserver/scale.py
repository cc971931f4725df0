"""The scale subresource: the number of replicas of a workload, whatever its kind (``autoscaling/v1``). Pure."""

from __future__ import annotations

from typing import Any

from fairway.objects.codec import Document
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import bad_request, invalid, invalid_object

_SCALE = Resource("autoscaling", "v1", "Scale", "scales", True, KubernetesObject)
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(document: Document) -> Document:
    """A workload seen as a Scale."""
    metadata = document["metadata"]
    spec = document.get("spec", {})
    status: dict[str, Any] = {"replicas": document.get("status", {}).get("replicas", 0)}
    if selector := _selector_text(spec.get("selector", {})):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _COPIED if field in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": status,
    }


def scaled(document: Document, scale: Document) -> Document:
    """The workload with the replicas that the Scale asks for; raises `ApiError`."""
    metadata = scale.get("metadata") or {}
    name = document["metadata"]["name"]
    if not isinstance(metadata, dict) or metadata.get("name", name) != name:
        raise bad_request("the name in the Scale does not match the name on the URL")
    spec = scale.get("spec") or {}
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid_object(_SCALE, name, [error])
    changed = {**document, "spec": {**document.get("spec", {}), "replicas": replicas}}
    if metadata.get("resourceVersion"):
        changed["metadata"] = {**document["metadata"], "resourceVersion": metadata["resourceVersion"]}
    return changed


def _selector_text(selector: Document) -> str:
    """A label selector as the query string that finds the same pods."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(expression.get("values") or ())
        match expression.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
    return ",".join(terms)
