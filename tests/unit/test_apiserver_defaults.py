"""What is filled in, kind by kind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from fairway.apiserver import defaults
from fairway.apiserver.strategies import STRATEGIES, quality_of_service
from fairway.objects.codec import Document


def service(**spec: Any) -> Document:
    return {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}


@pytest.mark.reference("5.1 type", "5.1 affinity", "5.1 ports", "5.1 internal policy")
def test_the_smallest_service() -> None:
    assert defaults.service(service())["spec"] == {
        "type": "ClusterIP",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }


@pytest.mark.parametrize(
    "given, field, value",
    [
        ({"type": "NodePort"}, "externalTrafficPolicy", "Cluster"),
        ({"type": "LoadBalancer"}, "externalTrafficPolicy", "Cluster"),
        ({"type": "LoadBalancer"}, "allocateLoadBalancerNodePorts", True),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, "allocateLoadBalancerNodePorts", False),
        ({"externalIPs": ["192.0.2.1"]}, "externalTrafficPolicy", "Cluster"),
        ({}, "externalTrafficPolicy", None),
        ({"type": "ExternalName"}, "internalTrafficPolicy", None),
        ({"type": "ExternalName", "externalIPs": ["192.0.2.1"]}, "externalTrafficPolicy", None),
        ({"sessionAffinity": "ClientIP"}, "sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}}),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, "sessionAffinityConfig", None),
        ({"internalTrafficPolicy": "Local"}, "internalTrafficPolicy", "Local"),
        # Wrong, and for validation to say so: only what is left out is filled in.
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            "sessionAffinityConfig",
            {"clientIP": {"timeoutSeconds": 0}},
        ),
        ({"internalTrafficPolicy": ""}, "internalTrafficPolicy", ""),
    ],
)
@pytest.mark.reference(
    "5.1 affinity", "5.1 affinity timeout", "5.1 external policy", "5.1 internal policy", "5.1 load balancer ports"
)
def test_what_depends_on_the_rest_of_a_service(given: Document, field: str, value: Any) -> None:
    assert defaults.service(service(**given))["spec"].get(field) == value


@pytest.mark.parametrize("given, wanted", [({}, 80), ({"targetPort": 0}, 80), ({"targetPort": ""}, 80)])
@pytest.mark.reference("5.1 ports")
def test_an_open_target_port_is_the_port(given: Document, wanted: int) -> None:
    assert defaults.service(service(ports=[{"port": 80, **given}]))["spec"]["ports"][0]["targetPort"] == wanted


@pytest.mark.reference("5.1 ip mode")
def test_a_load_balancers_address_is_taken_by_the_proxy() -> None:
    document = service(type="LoadBalancer") | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {}]}}}
    assert defaults.service(document)["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}, {}]


def test_the_ports_of_a_slice_have_a_name_and_a_protocol() -> None:
    document = defaults.endpoint_slice({"ports": [{"port": 80}]})
    assert document["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]


def test_a_namespace_is_active_and_labelled_with_its_name() -> None:
    document = defaults.namespace({"metadata": {"name": "shop"}})
    assert document["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert document["spec"] == {"finalizers": ["kubernetes"]}
    assert document["status"] == {"phase": "Active"}


@pytest.mark.parametrize("given", [{"podCIDR": "10.0.0.0/24"}, {"podCIDRs": ["10.0.0.0/24"]}])
def test_the_pod_network_of_a_node_is_said_in_both_fields(given: Document) -> None:
    assert defaults.node({"spec": given})["spec"] == {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}


def pod(container: Document | None = None, **spec: Any) -> Document:
    containers = [{"name": "a", "image": "a", **(container or {})}]
    return defaults.pod({"metadata": {"name": "a"}, "spec": {"containers": containers, **spec}})


def test_the_smallest_pod() -> None:
    assert pod()["spec"] == {
        "containers": [
            {
                "name": "a",
                "image": "a",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "enableServiceLinks": True,
    }


@pytest.mark.parametrize(
    "image, policy",
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("registry:5000/a", "Always"),
        ("registry:5000/a:1", "IfNotPresent"),
        ("a@sha256:0123", "IfNotPresent"),
    ],
)
def test_only_the_newest_image_is_always_pulled(image: str, policy: str) -> None:
    assert pod({"image": image})["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_zero_is_a_choice_for_the_grace_period() -> None:
    assert pod(terminationGracePeriodSeconds=0)["spec"]["terminationGracePeriodSeconds"] == 0
    assert pod(enableServiceLinks=False)["spec"]["enableServiceLinks"] is False


def test_the_parts_of_a_container() -> None:
    container = pod(
        {
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        },
        hostNetwork=True,
    )["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"


def test_volumes_and_accounts() -> None:
    spec = pod(volumes=[{"name": "a"}, {"name": "b", "configMap": {"name": "c"}}], serviceAccount="me")["spec"]
    assert spec["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "c", "defaultMode": 420}},
    ]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("me", "me")


def test_the_smallest_deployment() -> None:
    spec = defaults.deployment({"metadata": {}, "spec": {"template": {"spec": {"containers": []}}}})["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_zero_is_a_choice_for_a_deployment() -> None:
    given = {"replicas": 0, "revisionHistoryLimit": 0, "strategy": {"rollingUpdate": {"maxSurge": 0}}}
    spec = defaults.deployment({"metadata": {}, "spec": given})["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (0, 0)
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "25%"}


def test_recreate_has_nothing_to_roll() -> None:
    spec = defaults.deployment({"metadata": {}, "spec": {"strategy": {"type": "Recreate"}}})["spec"]
    assert spec["strategy"] == {"type": "Recreate"}


EXAMPLES: list[tuple[Callable[[Document], Document], Document]] = [
    (defaults.service, service(type="LoadBalancer", sessionAffinity="ClientIP")),
    (defaults.endpoint_slice, {"ports": [{"port": 80}]}),
    (defaults.namespace, {"metadata": {"name": "a"}}),
    (defaults.node, {"spec": {"podCIDR": "10.0.0.0/24"}}),
    (defaults.pod, {"metadata": {}, "spec": {"containers": [{"livenessProbe": {"httpGet": {}}}]}}),
    (defaults.deployment, {"metadata": {}, "spec": {}}),
    (defaults.replica_set, {"metadata": {}, "spec": {}}),
]


@pytest.mark.parametrize("fill, document", EXAMPLES)
def test_filling_in_twice_is_the_same_as_once(fill: Callable[[Document], Document], document: Document) -> None:
    once = fill(copy.deepcopy(document))
    assert fill(copy.deepcopy(once)) == once


@pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind[1])
def test_an_empty_object_is_refused_with_errors_and_never_with_a_crash(kind: tuple[str, str]) -> None:
    rules = STRATEGIES[kind]
    document = rules.prepare_create(rules.default({"metadata": {}}))
    assert rules.validate(document)
    assert rules.validate_update(document, copy.deepcopy(document)) == []
    assert rules.validate_status(document, copy.deepcopy(document)) == []


@pytest.mark.reference("5.2 status")
def test_a_creator_does_not_decide_the_status() -> None:
    rules = STRATEGIES["v1", "Pod"]
    made = rules.prepare_create(pod() | {"status": {"phase": "Running", "podIP": "10.0.0.1"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_node_brings_its_own_status() -> None:
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    assert STRATEGIES["v1", "Node"].prepare_create({"metadata": {}, "status": status})["status"] == status


@pytest.mark.reference("5.3 drop")
def test_a_service_that_stops_being_a_load_balancer_loses_its_ingress() -> None:
    rules = STRATEGIES["v1", "Service"]
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    old, new = service(type="LoadBalancer") | {"status": status}, service(type="ClusterIP") | {"status": status}
    assert rules.prepare_update(old, copy.deepcopy(new))["status"] == {"loadBalancer": {}}
    assert rules.prepare_update(old, copy.deepcopy(old))["status"] == status


@pytest.mark.parametrize(
    "resources, quality",
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(resources: Document, quality: str) -> None:
    assert quality_of_service(pod({"resources": resources})["spec"]) == quality
