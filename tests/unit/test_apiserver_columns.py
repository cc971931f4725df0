"""The tables of kubectl: headers and cells as people know them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairway.apiserver import cells
from fairway.apiserver.columns import COLUMNS
from fairway.objects.codec import Document

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = (THEN + timedelta(days=2, hours=4)).timestamp()
META = {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"}


def row(kind: str, document: Document, api_version: str = "v1") -> dict[str, Any]:
    columns = COLUMNS[api_version, kind]
    return {column.name: column.cell({"metadata": META} | document, NOW) for column in columns}


HEADERS = {
    ("v1", "Namespace"): ("Name Status Age", ""),
    ("v1", "Node"): (
        "Name Status Roles Age Version",
        "Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
    ),
    ("v1", "Pod"): ("Name Ready Status Restarts Age", "IP Node Nominated_Node Readiness_Gates"),
    ("v1", "Service"): ("Name Type Cluster-IP External-IP Port(s) Age", "Selector"),
    ("discovery.k8s.io/v1", "EndpointSlice"): ("Name AddressType Ports Endpoints Age", ""),
    ("apps/v1", "Deployment"): ("Name Ready Up-to-date Available Age", "Containers Images Selector"),
    ("apps/v1", "ReplicaSet"): ("Name Desired Current Ready Age", "Containers Images Selector"),
    ("v1", "ServiceAccount"): ("Name Secrets Age", ""),
    ("v1", "Endpoints"): ("Name Endpoints Age", ""),
    ("v1", "ConfigMap"): ("Name Data Age", ""),
    ("v1", "Secret"): ("Name Type Data Age", ""),
    ("coordination.k8s.io/v1", "Lease"): ("Name Holder Age", ""),
    ("networking.k8s.io/v1", "ServiceCIDR"): ("Name CIDRs Age", ""),
    ("networking.k8s.io/v1", "IPAddress"): ("Name ParentRef Age", ""),
    ("networking.k8s.io/v1", "NetworkPolicy"): ("Name Pod-Selector Age", ""),
    ("events.k8s.io/v1", "Event"): ("Last_Seen Type Reason Object Message", "Subobject Source First_Seen Count Name"),
    ("rbac.authorization.k8s.io/v1", "Role"): ("Name Created_At", ""),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): ("Name Created_At", ""),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("Name Role Age", "Users Groups ServiceAccounts"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("Name Role Age", "Users Groups ServiceAccounts"),
    ("v1", "Event"): ("Last_Seen Type Reason Object Message", "Subobject Source First_Seen Count Name"),
}


@pytest.mark.parametrize("kind", COLUMNS, ids="/".join)
def test_the_headers_are_those_of_kubectl(kind: tuple[str, str]) -> None:
    shown, wide = HEADERS[kind]
    columns = COLUMNS[kind]
    assert " ".join(one.name.replace(" ", "_") for one in columns if one.priority == 0) == shown
    assert " ".join(one.name.replace(" ", "_") for one in columns if one.priority == 1) == wide


@pytest.mark.parametrize("kind", COLUMNS, ids="/".join)
def test_every_cell_has_the_type_of_its_column_even_of_an_empty_object(kind: tuple[str, str]) -> None:
    for column in COLUMNS[kind]:
        cell = column.cell({"metadata": {}, "spec": {}}, NOW)
        assert isinstance(cell, int if column.type == "integer" else str), column.name


@pytest.mark.parametrize(
    "seconds, words",
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (600, "10m"),
        (179 * 60 + 59, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"),
        (8 * 3600 + 300, "8h"),
        (47 * 3600, "47h"),
        (52 * 3600, "2d4h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (750 * 86400, "2y20d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_a_span_of_time_is_told_in_two_units_at_most(seconds: int, words: str) -> None:
    assert cells.duration(seconds) == words


@pytest.mark.parametrize("stamp", [None, "", "today", "2026-01-01T00:00:00"])
def test_an_age_that_cannot_be_told_is_unknown(stamp: str | None) -> None:
    assert cells.since(stamp, NOW) == "<unknown>"


def test_a_node_port_service() -> None:
    spec = {
        "type": "NodePort",
        "clusterIP": "10.96.0.7",
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        "selector": {"b": "2", "a": "1"},
    }
    assert row("Service", {"spec": spec}) == {
        "Name": "web",
        "Type": "NodePort",
        "Cluster-IP": "10.96.0.7",
        "External-IP": "<none>",
        "Port(s)": "80:30080/TCP,53/UDP",
        "Age": "2d4h",
        "Selector": "a=1,b=2",
    }


@pytest.mark.parametrize(
    "document, words",
    [
        ({"spec": {"type": "LoadBalancer"}}, "<pending>"),
        (
            {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
            "192.0.2.1",
        ),
        ({"spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}}, "192.0.2.9"),
        ({"spec": {"type": "ClusterIP", "externalIPs": ["192.0.2.1", "192.0.2.2"]}}, "192.0.2.1,192.0.2.2"),
        ({"spec": {"type": "ExternalName", "externalName": "a.example"}}, "a.example"),
        ({"spec": {"type": "ClusterIP"}}, "<none>"),
    ],
)
def test_the_external_address_of_a_service(document: Document, words: str) -> None:
    assert row("Service", document)["External-IP"] == words


def test_an_external_name_has_no_address_and_no_ports() -> None:
    found = row("Service", {"spec": {"type": "ExternalName", "externalName": "a.example"}})
    assert (found["Cluster-IP"], found["Port(s)"], found["Selector"]) == ("<none>", "<none>", "<none>")


def test_a_slice_shows_the_first_of_its_endpoints() -> None:
    slice_ = {
        "addressType": "IPv4",
        "ports": [{"port": 80}, {"port": 443}],
        "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(1, 6)],
    }
    found = row("EndpointSlice", slice_, "discovery.k8s.io/v1")
    assert (found["AddressType"], found["Ports"]) == ("IPv4", "80,443")
    assert found["Endpoints"] == "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."


def test_a_slice_without_ports_and_endpoints() -> None:
    found = row("EndpointSlice", {"addressType": "IPv4"}, "discovery.k8s.io/v1")
    assert (found["Ports"], found["Endpoints"]) == ("<unset>", "<unset>")


def running(ready: bool = True, **fields: Any) -> Document:
    return {"ready": ready, "restartCount": 0, "state": {"running": {}}, **fields}


def pod(*statuses: Document, phase: str = "Running", **fields: Any) -> Document:
    containers = [{"name": str(number)} for number in range(max(len(statuses), 1))]
    return {
        "spec": {"containers": containers, "nodeName": "node-1"},
        "status": {"phase": phase, "containerStatuses": list(statuses), **fields},
    }


def test_a_running_pod() -> None:
    found = row("Pod", pod(running(), running(ready=False), podIP="10.0.0.1", podIPs=[{"ip": "10.0.0.1"}]))
    assert found == {
        "Name": "web",
        "Ready": "1/2",
        "Status": "Running",
        "Restarts": "0",
        "Age": "2d4h",
        "IP": "10.0.0.1",
        "Node": "node-1",
        "Nominated Node": "<none>",
        "Readiness Gates": "<none>",
    }


@pytest.mark.parametrize(
    "document, words",
    [
        (pod(phase="Pending"), "Pending"),
        (pod({"state": {"waiting": {"reason": "ContainerCreating"}}}, phase="Pending"), "ContainerCreating"),
        (pod({"state": {"waiting": {"reason": "CrashLoopBackOff"}}}), "CrashLoopBackOff"),
        (pod({"state": {"terminated": {"reason": "Completed"}}}, phase="Succeeded"), "Completed"),
        (pod({"state": {"terminated": {"exitCode": 3}}}, phase="Failed"), "ExitCode:3"),
        (pod({"state": {"terminated": {"signal": 9}}}, phase="Failed"), "Signal:9"),
        (pod(phase="Failed", reason="Evicted"), "Evicted"),
        (
            pod(
                {"state": {"terminated": {"reason": "Completed"}}},
                running(),
                conditions=[{"type": "Ready", "status": "True"}],
            ),
            "Running",
        ),
        (pod(running()) | {"metadata": META | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, "Terminating"),
    ],
)
def test_the_status_of_a_pod_in_a_word(document: Document, words: str) -> None:
    assert row("Pod", document)["Status"] == words


def test_restarts_tell_when_the_last_one_was() -> None:
    last = {"terminated": {"finishedAt": "2026-01-03T03:55:00Z"}}
    assert row("Pod", pod(running(restartCount=3, lastState=last)))["Restarts"] == "3 (5m ago)"


def test_readiness_gates_are_counted() -> None:
    document = pod(running(), conditions=[{"type": "a", "status": "True"}])
    document["spec"]["readinessGates"] = [{"conditionType": "a"}, {"conditionType": "b"}]
    assert row("Pod", document)["Readiness Gates"] == "1/2"


def test_a_node() -> None:
    node = {
        "metadata": META | {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1"},
        },
    }
    found = row("Node", node)
    assert (found["Status"], found["Roles"]) == ("Ready,SchedulingDisabled", "control-plane,worker")
    assert (found["Version"], found["Internal-IP"], found["External-IP"]) == ("v1.36.0", "192.0.2.1", "<none>")
    assert (found["OS-Image"], found["Kernel-Version"], found["Container-Runtime"]) == ("Debian", "6.1", "<unknown>")


@pytest.mark.parametrize("status, words", [("True", "Ready"), ("False", "NotReady"), ("Unknown", "NotReady")])
def test_whether_a_node_is_ready(status: str, words: str) -> None:
    assert row("Node", {"status": {"conditions": [{"type": "Ready", "status": status}]}})["Status"] == words


def test_a_node_that_says_nothing_is_unknown() -> None:
    assert row("Node", {})["Status"] == "Unknown"


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}]}}


def test_a_deployment() -> None:
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}
    status = {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}
    assert row("Deployment", {"spec": spec, "status": status}, "apps/v1") == {
        "Name": "web",
        "Ready": "2/3",
        "Up-to-date": 3,
        "Available": 1,
        "Age": "2d4h",
        "Containers": "a,b",
        "Images": "a:1,b:2",
        "Selector": "app=web",
    }


def test_a_replica_set() -> None:
    found = row("ReplicaSet", {"spec": {"replicas": 3}, "status": {"replicas": 2, "readyReplicas": 1}}, "apps/v1")
    assert (found["Desired"], found["Current"], found["Ready"]) == (3, 2, 1)


@pytest.mark.parametrize(
    "selector, words",
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}, "a in (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, "a notin (x)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
        ({}, "<none>"),
        (None, "<none>"),
    ],
)
def test_a_selector_as_the_command_line_takes_it(selector: Document | None, words: str) -> None:
    assert cells.selector(selector) == words


def test_an_event() -> None:
    event = {
        "type": "Warning",
        "reason": "Failed",
        "message": "It failed\n",
        "involvedObject": {"kind": "Pod", "name": "web-1"},
        "lastTimestamp": "2026-01-03T03:59:55Z",
        "firstTimestamp": "2026-01-03T03:00:00Z",
        "count": 7,
        "source": {"component": "scheduler"},
    }
    found = row("Event", event)
    assert (found["Last Seen"], found["Object"], found["Message"]) == ("5s", "pod/web-1", "It failed")
    assert (found["First Seen"], found["Count"], found["Source"]) == ("60m", 7, "scheduler")


@pytest.mark.parametrize(
    "subsets, words",
    [
        ([], "<none>"),
        ([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}], "10.0.0.1:80,[fd00::1]:80"),
        ([{"addresses": [{"ip": "10.0.0.1"}]}], "10.0.0.1"),
        ([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}], "<none>"),
        (
            [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 81}]}],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...",
        ),
    ],
)
def test_endpoints_are_listed_with_their_ports(subsets: list[Document], words: str) -> None:
    assert row("Endpoints", {"subsets": subsets})["Endpoints"] == words


def test_who_holds_an_address_is_one_word() -> None:
    service = {"resource": "services", "namespace": "shop", "name": "cart"}
    gateway = {"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "a", "name": "b"}
    for parent, words in ((service, "services/shop/cart"), (gateway, "gateways.gateway.networking.k8s.io/a/b")):
        assert row("IPAddress", {"spec": {"parentRef": parent}}, "networking.k8s.io/v1")["ParentRef"] == words
