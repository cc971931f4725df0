"""What Kubernetes fills in when a user leaves a field open, kind by kind.

Every function changes the document it is given (its caller owns it) and gives it back. Filling in twice is the same
as once. Addresses, families and node ports are not here: they depend on the cluster (`fairway.apiserver.allocation`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from fairway.apiserver.validation.service import externally_accessible
from fairway.objects.codec import Document

AFFINITY_SECONDS = 10800
_SERVED_INSIDE = ("ClusterIP", "NodePort", "LoadBalancer")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE: Document = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_FILE_MODE = 0o644
_FILE_VOLUMES = ("configMap", "downwardAPI", "projected", "secret")


def fill(document: Document, **values: Any) -> None:
    """Set each field that is missing or empty (``None``, ``""``, 0)."""
    for field, value in values.items():
        if document.get(field) in (None, "", 0):
            document[field] = value


def fill_missing(document: Document, **values: Any) -> None:
    """Set each field that is missing; of what Go keeps behind a pointer, 0 and the empty string are values."""
    for field, value in values.items():
        if document.get(field) is None:
            document[field] = value


def _part(document: Document, field: str) -> Document:
    """The object in a field, made when it is missing."""
    part: Document = document.setdefault(field, {})
    return part


def namespace(document: Document) -> Document:
    fill(_part(document, "spec"), finalizers=["kubernetes"])
    name = document["metadata"].get("name")
    if name:
        _part(document["metadata"], "labels")["kubernetes.io/metadata.name"] = name
    fill(_part(document, "status"), phase="Active")
    return document


def node(document: Document) -> Document:
    """``podCIDR`` and the first of ``podCIDRs`` are the same."""
    spec = _part(document, "spec")
    if spec.get("podCIDR"):
        fill(spec, podCIDRs=[spec["podCIDR"]])
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    _part(document, "status")
    return document


def service(document: Document) -> Document:
    spec = _part(document, "spec")
    fill(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        fill_missing(_part(_part(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=AFFINITY_SECONDS)
    for port in spec.get("ports", []):
        fill(port, protocol="TCP", targetPort=port.get("port", 0))
    if externally_accessible(spec):
        fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] in _SERVED_INSIDE:
        fill_missing(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        fill_missing(spec, allocateLoadBalancerNodePorts=True)
    for entry in _part(_part(document, "status"), "loadBalancer").get("ingress", []):
        if entry.get("ip") and spec["type"] == "LoadBalancer":
            fill_missing(entry, ipMode="VIP")
    return document


def endpoints(document: Document) -> Document:
    for subset in document.get("subsets", []):
        for port in subset.get("ports", []):
            fill(port, protocol="TCP")
    return document


def secret(document: Document) -> Document:
    """What was written as text joins what was written as base64, and is never stored by itself."""
    fill(document, type="Opaque")
    plain = document.pop("stringData", {})
    if plain:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        document["data"] = {**document.get("data", {}), **encoded}
    return document


def network_policy(document: Document) -> Document:
    spec = _part(document, "spec")
    _part(spec, "podSelector")
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction, []):
            for port in rule.get("ports", []):
                fill_missing(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return document


def endpoint_slice(document: Document) -> Document:
    for port in document.get("ports", []):
        fill_missing(port, name="", protocol="TCP")
    return document


def pod(document: Document) -> Document:
    spec = _part(document, "spec")
    fill_missing(spec, enableServiceLinks=True)
    pod_spec(spec)
    fill(_part(document, "status"), phase="Pending")
    return document


def replica_set(document: Document) -> Document:
    spec = _workload(document)
    fill(_part(document, "status"), replicas=0)
    _replicas(spec)
    return document


def deployment(document: Document) -> Document:
    spec = _workload(document)
    _replicas(spec)
    strategy = _part(spec, "strategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = _part(strategy, "rollingUpdate")
        for field in ("maxUnavailable", "maxSurge"):
            # Zero is a choice here, not an open field.
            rolling.setdefault(field, "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _part(document, "status")
    return document


def _replicas(spec: Document) -> None:
    spec.setdefault("replicas", 1)


def _workload(document: Document) -> Document:
    spec = _part(document, "spec")
    template = _part(spec, "template")
    _part(template, "metadata")
    pod_spec(_part(template, "spec"))
    return spec


def pod_spec(spec: Document) -> None:
    """The defaults of a pod's spec, in a Pod or in a template."""
    fill(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    _part(spec, "securityContext")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        fill(spec, serviceAccountName=account, serviceAccount=account)
    for container in all_containers(spec):
        _container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes", []):
        _volume(volume)


def all_containers(spec: Document) -> Iterable[Document]:
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def _container(container: Document, *, host_network: bool) -> None:
    latest = _tag(container.get("image", "")) == "latest"
    fill(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    resources = _part(container, "resources")
    for name, amount in resources.get("limits", {}).items():
        _part(resources, "requests").setdefault(name, amount)
    for port in container.get("ports", []):
        fill(port, protocol="TCP")
        if host_network and port.get("containerPort"):
            fill(port, hostPort=port["containerPort"])
    for kind in _PROBES:
        if kind in container:
            fill(container[kind], **_PROBE)
            _http_get(container[kind])
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict):
            _http_get(hook)
    for variable in container.get("env", []):
        if "fieldRef" in variable.get("valueFrom", {}):
            fill(variable["valueFrom"]["fieldRef"], apiVersion="v1")


def _http_get(handler: Document) -> None:
    if "httpGet" in handler:
        fill(handler["httpGet"], path="/", scheme="HTTP")


def _tag(image: str) -> str:
    """The tag of an image reference; ``latest`` when it has neither tag nor digest."""
    name, at, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return tag if colon else "" if at else "latest"


def _volume(volume: Document) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for kind in _FILE_VOLUMES:
        if kind in volume:
            volume[kind].setdefault("defaultMode", _FILE_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def role_binding(binding: Document) -> Document:
    """The API group of users, groups and roles, where the writer left it out; ServiceAccounts have none."""
    group = "rbac.authorization.k8s.io"
    reference = binding.get("roleRef")
    if isinstance(reference, dict) and not reference.get("apiGroup"):
        reference["apiGroup"] = group
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = group
    return binding
