"""What stands in the cells of kubectl's tables: an object's state in a word or two.

The words are those of ``pkg/printers/internalversion``: people and scripts read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fairway.objects.codec import Document

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
MOST_SHOWN = 3
_ADDRESSES_WIDTH = 16
_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY
_OPERATORS = {"In": "in", "NotIn": "notin"}


def duration(seconds: int) -> str:
    """A span of time as kubectl prints it, in two units at most: ``5s``, ``3m12s``, ``2d4h``, ``3y20d``."""
    if seconds < -1:
        return "<invalid>"
    for limit, unit, letter, rest, rest_letter in _SPANS:
        if seconds < limit:
            whole, left = divmod(max(seconds, 0), unit)
            more = left // rest if rest else 0
            return f"{whole}{letter}" + (f"{more}{rest_letter}" if more else "")
    return f"{seconds // _YEAR}y"


# below this many seconds: the unit, its letter, and the smaller unit that is still told
_SPANS = (
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)


def since(timestamp: str | None, now: float) -> str:
    """How long ago an RFC 3339 timestamp was; ``now`` is in seconds since 1970."""
    if not timestamp:
        return UNKNOWN
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return UNKNOWN
    if then.tzinfo is None:
        return UNKNOWN
    return duration(int((now - then.timestamp()) // 1))


def age(document: Document, now: float) -> str:
    return since(document.get("metadata", {}).get("creationTimestamp"), now)


def name(document: Document) -> str:
    return str(document.get("metadata", {}).get("name", ""))


def phase(document: Document) -> str:
    return str(document.get("status", {}).get("phase", ""))


def text(document: Document, part: str, field: str) -> str:
    return str(document.get(part, {}).get(field) or NONE)


def count(document: Document, part: str, field: str) -> int:
    return int(document.get(part, {}).get(field, 0))


def label_pairs(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector(found: Document | None) -> str:
    """A label selector in the form that ``kubectl -l`` takes."""
    terms = [f"{key}={value}" for key, value in (found or {}).get("matchLabels", {}).items()]
    for expression in (found or {}).get("matchExpressions", []):
        key, operator = expression.get("key", ""), expression.get("operator", "")
        if operator in _OPERATORS:
            terms.append(f"{key} {_OPERATORS[operator]} ({','.join(sorted(expression.get('values', [])))})")
        else:
            terms.append(key if operator == "Exists" else f"!{key}")
    return ",".join(sorted(terms)) or NONE


def containers(workload: Document, field: str) -> str:
    """The ``name`` or ``image`` of each container in the template of a Deployment or ReplicaSet."""
    found = workload.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    return ",".join(container.get(field, "") for container in found)


def ready_of_wanted(workload: Document) -> str:
    return f"{count(workload, 'status', 'readyReplicas')}/{count(workload, 'spec', 'replicas')}"


# ── nodes


def node_status(node: Document) -> str:
    conditions = {one.get("type"): one.get("status") for one in node.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready")
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def node_roles(node: Document) -> str:
    labels = node.get("metadata", {}).get("labels", {})
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles |= {labels.get(_ROLE_LABEL, "")}
    return ",".join(sorted(role for role in roles if role)) or NONE


def node_info(node: Document, field: str) -> str:
    value = node.get("status", {}).get("nodeInfo", {}).get(field)
    return str(value or (UNKNOWN if field != "kubeletVersion" else ""))


def node_address(node: Document, type_: str) -> str:
    addresses = node.get("status", {}).get("addresses", [])
    return next((str(one.get("address")) for one in addresses if one.get("type") == type_), NONE)


# ── pods


def pod_ready(pod: Document) -> str:
    """``1/2``: of its containers, those that are ready."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    ready = sum(1 for one in statuses if one.get("ready") and "running" in one.get("state", {}))
    return f"{ready}/{len(pod.get('spec', {}).get('containers', []))}"


def pod_status(pod: Document) -> str:
    """The one word that says best how the pod is: a container that waits or failed says more than the phase."""
    status = pod.get("status", {})
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    word = str(status.get("reason") or status.get("phase") or "")
    for container in reversed(status.get("containerStatuses", [])):
        word = _container_word(container) or word
    if word == "Completed" and any("running" in one.get("state", {}) for one in status.get("containerStatuses", [])):
        return "Running" if _ready(status) else "NotReady"
    return word


def _container_word(container: Document) -> str:
    state = container.get("state", {})
    waiting, ended = state.get("waiting"), state.get("terminated")
    if waiting and waiting.get("reason"):
        return str(waiting["reason"])
    if not ended:
        return ""
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _ready(status: Document) -> bool:
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions", []))


def pod_restarts(pod: Document, now: float) -> str:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    restarts = sum(int(one.get("restartCount", 0)) for one in statuses)
    ends = [one.get("lastState", {}).get("terminated", {}).get("finishedAt") for one in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{restarts} ({since(last, now)} ago)" if restarts and last else str(restarts)


def pod_address(pod: Document) -> str:
    status = pod.get("status", {})
    addresses = [one.get("ip") for one in status.get("podIPs", [])] or [status.get("podIP")]
    return str(addresses[0] or NONE)


def pod_gates(pod: Document) -> str:
    gates = [gate.get("conditionType") for gate in pod.get("spec", {}).get("readinessGates", [])]
    if not gates:
        return NONE
    true = {one.get("type") for one in pod.get("status", {}).get("conditions", []) if one.get("status") == "True"}
    return f"{sum(1 for gate in gates if gate in true)}/{len(gates)}"


# ── services and their endpoints


def service_external(service: Document) -> str:
    spec = service.get("spec", {})
    external = ",".join(spec.get("externalIPs", []))
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
            given = ",".join(sorted({str(one.get("ip") or one.get("hostname") or "") for one in ingress} - {""}))
            found = ",".join(one for one in (_shortened(given), external) if one)
            return found or "<pending>"
        case _:
            return external or NONE


def _shortened(given: str) -> str:
    return given[: _ADDRESSES_WIDTH - 3] + "..." if len(given) > _ADDRESSES_WIDTH else given


def service_ports(service: Document) -> str:
    """``80:30080/TCP,53/UDP``."""
    ports = service.get("spec", {}).get("ports", [])
    return ",".join(map(_service_port, ports)) or NONE


def _service_port(port: Document) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', '')}"


def slice_ports(slice_: Document) -> str:
    ports = slice_.get("ports", [])
    return _some([str(port.get("port", "*")) for port in ports]) if ports else UNSET


def slice_endpoints(slice_: Document) -> str:
    endpoints = slice_.get("endpoints", [])
    return _some([str(address) for one in endpoints for address in one.get("addresses", [])]) if endpoints else UNSET


def _some(values: list[Any]) -> str:
    """The first few, and how many more there are."""
    shown = ",".join(values[:MOST_SHOWN])
    return f"{shown} + {len(values) - MOST_SHOWN} more..." if len(values) > MOST_SHOWN else shown


def endpoints_list(endpoints: Document) -> str:
    """``10.0.0.1:80,10.0.0.2:80``: the ready ones, as `kubectl get endpoints` shows them."""
    found: list[str] = []
    for subset in endpoints.get("subsets", []):
        addresses = [str(one.get("ip", "")) for one in subset.get("addresses", [])]
        for port in subset.get("ports", []):
            found += [_joined(address, port.get("port", 0)) for address in addresses]
        if not subset.get("ports"):
            found += addresses
    return _some(found) or NONE


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parent_reference(address: Document) -> str:
    """``services/shop/cart``."""
    parent = address.get("spec", {}).get("parentRef", {})
    group = f".{parent['group']}" if parent.get("group") else ""
    return f"{parent.get('resource', '')}{group}/{parent.get('namespace', '')}/{parent.get('name', '')}".lower()


# ── events


def event_last_seen(event: Document, now: float) -> str:
    series = event.get("series", {}).get("lastObservedTime")
    last = series or event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp")
    return since(last, now)


def event_object(event: Document) -> str:
    about = event.get("involvedObject", {})
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def event_source(event: Document) -> str:
    source = event.get("source", {})
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return ", ".join(str(one) for one in (component, host) if one)


def event_count(event: Document) -> int:
    return int(event.get("series", {}).get("count") or event.get("count") or 1)


def subjects(document: Document, kind: str) -> str:
    """The names of a binding's subjects of one kind, a ServiceAccount's with its namespace."""
    found = [one for one in document.get("subjects") or () if one.get("kind") == kind]
    return ", ".join("/".join(one[part] for part in ("namespace", "name") if one.get(part)) for one in found)


def role(document: Document) -> str:
    """What a binding gives: ``ClusterRole/view``."""
    reference = document.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"
