"""The tables that kubectl prints: the columns of every kind, each with the function of its cell.

::

    NAME   TYPE       CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE │ SELECTOR
    web    ClusterIP  10.96.0.7    <none>        80/TCP    5s  │ app=web
                                                               └ priority 1: with ``-o wide`` only
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fairway.apiserver import cells
from fairway.apiserver.events import to_stored
from fairway.apiserver.strategy import Column
from fairway.objects.codec import Document

_INT = "integer"


def _column(name: str, description: str, cell: Callable[[Document], Any], type_: str = "string") -> Column:
    return Column(name, lambda document, now: cell(document), description, type_)


def _wide(name: str, description: str, cell: Callable[[Document], Any]) -> Column:
    return Column(name, lambda document, now: cell(document), description, priority=1)


def _text(part: str, field: str) -> Callable[[Document], str]:
    return lambda document: cells.text(document, part, field)


def _count(part: str, field: str) -> Callable[[Document], int]:
    return lambda document: cells.count(document, part, field)


def _address(type_: str) -> Callable[[Document], str]:
    return lambda document: cells.node_address(document, type_)


def _info(field: str) -> Callable[[Document], str]:
    return lambda document: cells.node_info(document, field)


_NAME = Column(
    "Name",
    lambda document, now: cells.name(document),
    "Name must be unique within a namespace. It cannot be updated.",
    format="name",
)
_AGE = Column("Age", cells.age, "Time since the object was created.")
_TEMPLATE = (
    _wide("Containers", "Names of each container in the template.", lambda one: cells.containers(one, "name")),
    _wide("Images", "Images referenced by each container in the template.", lambda one: cells.containers(one, "image")),
    _wide("Selector", "The pods that belong to it.", lambda one: cells.selector(one.get("spec", {}).get("selector"))),
)

NAMESPACE = (_NAME, _column("Status", "The status of the namespace", cells.phase), _AGE)

NODE = (
    _NAME,
    _column("Status", "The status of the node", cells.node_status),
    _column("Roles", "The roles of the node", cells.node_roles),
    _AGE,
    _column("Version", "Kubelet Version reported by the node.", _info("kubeletVersion")),
    _wide("Internal-IP", "Address of the node inside the cluster.", _address("InternalIP")),
    _wide("External-IP", "Address of the node outside the cluster.", _address("ExternalIP")),
    _wide("OS-Image", "OS Image reported by the node.", _info("osImage")),
    _wide("Kernel-Version", "Kernel Version reported by the node.", _info("kernelVersion")),
    _wide("Container-Runtime", "ContainerRuntime Version reported by the node.", _info("containerRuntimeVersion")),
)

POD = (
    _NAME,
    _column("Ready", "Containers that are ready to accept traffic, of all its containers.", cells.pod_ready),
    _column("Status", "The aggregate status of the containers in this pod.", cells.pod_status),
    Column("Restarts", cells.pod_restarts, "How often its containers were restarted, and when the last time was."),
    _AGE,
    _wide("IP", "Address of the pod.", cells.pod_address),
    _wide("Node", "The node the pod runs on.", _text("spec", "nodeName")),
    _wide("Nominated Node", "The node that others are moved off for it.", _text("status", "nominatedNodeName")),
    _wide("Readiness Gates", "Further conditions that must hold before it is ready.", cells.pod_gates),
)

SERVICE = (
    _NAME,
    _column("Type", "Who can reach the Service: ClusterIP, NodePort, LoadBalancer …", _text("spec", "type")),
    _column("Cluster-IP", "Address of the Service inside the cluster.", _text("spec", "clusterIP")),
    _column("External-IP", "Addresses or name for clients outside the cluster.", cells.service_external),
    _column("Port(s)", "Ports the Service listens on, with their node ports.", cells.service_ports),
    _AGE,
    _wide("Selector", "The pods that answer for it.", lambda one: cells.label_pairs(one["spec"].get("selector"))),
)

ENDPOINT_SLICE = (
    _NAME,
    _column("AddressType", "IPv4, IPv6 or FQDN.", lambda one: str(one.get("addressType", ""))),
    _column("Ports", "The ports of every endpoint in this slice.", cells.slice_ports),
    _column("Endpoints", "The addresses of the endpoints in this slice.", cells.slice_endpoints),
    _AGE,
)

DEPLOYMENT = (
    _NAME,
    _column("Ready", "Pods that are ready, of those wanted.", cells.ready_of_wanted),
    _column("Up-to-date", "Pods that have the newest template.", _count("status", "updatedReplicas"), "integer"),
    _column("Available", "Pods ready for minReadySeconds.", _count("status", "availableReplicas"), "integer"),
    _AGE,
    *_TEMPLATE,
)

REPLICA_SET = (
    _NAME,
    _column("Desired", "Number of the pods wanted.", _count("spec", "replicas"), "integer"),
    _column("Current", "Number of the pods that exist.", _count("status", "replicas"), "integer"),
    _column("Ready", "Number of the pods that are ready.", _count("status", "readyReplicas"), "integer"),
    _AGE,
    *_TEMPLATE,
)

SERVICE_ACCOUNT = (
    _NAME,
    _column("Secrets", "Number of its secrets.", lambda one: len(one.get("secrets", [])), "integer"),
    _AGE,
)

EVENT = (
    Column("Last Seen", cells.event_last_seen, "Time since it happened last."),
    _column("Type", "Normal or Warning.", lambda one: str(one.get("type", ""))),
    _column("Reason", "The event in a word.", lambda one: str(one.get("reason", ""))),
    _column("Object", "The object it happened to.", cells.event_object),
    _wide("Subobject", "The part of the object.", lambda one: str(one.get("involvedObject", {}).get("fieldPath", ""))),
    _wide("Source", "Who reported it.", cells.event_source),
    _column("Message", "The event in a sentence.", lambda one: str(one.get("message", "")).strip()),
    Column(
        "First Seen",
        lambda document, now: cells.since(document.get("firstTimestamp") or document.get("eventTime"), now),
        "Time since it happened first.",
        priority=1,
    ),
    Column("Count", lambda document, now: cells.event_count(document), "How often.", "integer", priority=1),
    Column("Name", lambda document, now: cells.name(document), "Name of the event.", format="name", priority=1),
)

ENDPOINTS = (_NAME, _column("Endpoints", "Addresses that are ready, with their ports.", cells.endpoints_list), _AGE)

CONFIG_MAP = (
    _NAME,
    _column(
        "Data", "How many keys it has.", lambda one: len(one.get("data", {})) + len(one.get("binaryData", {})), _INT
    ),
    _AGE,
)

SECRET = (
    _NAME,
    _column("Type", "What its readers may rely on.", lambda one: str(one.get("type", ""))),
    _column("Data", "How many keys it has.", lambda one: len(one.get("data", {})), _INT),
    _AGE,
)

LEASE = (_NAME, _column("Holder", "Who holds it.", lambda one: str(one["spec"].get("holderIdentity", ""))), _AGE)

SERVICE_CIDR = (
    _NAME,
    _column("CIDRs", "Networks that cluster IPs come from.", lambda one: ",".join(one["spec"].get("cidrs", []))),
    _AGE,
)

IP_ADDRESS = (_NAME, _column("ParentRef", "Who holds the address.", cells.parent_reference), _AGE)

NETWORK_POLICY = (
    _NAME,
    _column("Pod-Selector", "The pods it is about.", lambda one: cells.selector(one["spec"].get("podSelector"))),
    _AGE,
)

# The time instead of the age: what kubectl has always printed for roles.
_CREATED = _column("Created At", "When it was created.", lambda one: one["metadata"].get("creationTimestamp", ""))

ROLE = (_NAME, _CREATED)


def _subjects(kind: str) -> Callable[[Document], str]:
    return lambda document: cells.subjects(document, kind)


ROLE_BINDING = (
    _NAME,
    _column("Role", "What it gives.", cells.role),
    _AGE,
    _wide("Users", "Users it is given to.", _subjects("User")),
    _wide("Groups", "Groups it is given to.", _subjects("Group")),
    _wide("ServiceAccounts", "ServiceAccounts it is given to.", _subjects("ServiceAccount")),
)


def _of_later(column: Column) -> Column:
    """A column of Events for the form of events.k8s.io."""
    return replace(column, cell=lambda document, now: column.cell(to_stored(document), now))


COLUMNS: dict[tuple[str, str], tuple[Column, ...]] = {
    ("v1", "Namespace"): NAMESPACE,
    ("v1", "Node"): NODE,
    ("v1", "Pod"): POD,
    ("v1", "Service"): SERVICE,
    ("v1", "ServiceAccount"): SERVICE_ACCOUNT,
    ("v1", "Event"): EVENT,
    ("v1", "Endpoints"): ENDPOINTS,
    ("v1", "ConfigMap"): CONFIG_MAP,
    ("v1", "Secret"): SECRET,
    ("coordination.k8s.io/v1", "Lease"): LEASE,
    ("events.k8s.io/v1", "Event"): tuple(map(_of_later, EVENT)),
    ("networking.k8s.io/v1", "ServiceCIDR"): SERVICE_CIDR,
    ("networking.k8s.io/v1", "IPAddress"): IP_ADDRESS,
    ("networking.k8s.io/v1", "NetworkPolicy"): NETWORK_POLICY,
    ("discovery.k8s.io/v1", "EndpointSlice"): ENDPOINT_SLICE,
    ("apps/v1", "Deployment"): DEPLOYMENT,
    ("apps/v1", "ReplicaSet"): REPLICA_SET,
    ("rbac.authorization.k8s.io/v1", "Role"): ROLE,
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ROLE_BINDING,
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): ROLE,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ROLE_BINDING,
}
