"""One Strategy a kind: its defaults, what a writer may not decide, and its validation.

The rules themselves lie in `defaults` and `validation`; here is only which belong to which kind.
"""

from __future__ import annotations

from fairway.apiserver import defaults
from fairway.apiserver.allocation.changes import may_have_node_ports
from fairway.apiserver.events import to_stored
from fairway.apiserver.strategy import Rules, Strategy
from fairway.apiserver.validation import (
    cluster,
    configuration,
    endpoints,
    endpointslice,
    event,
    network_policy,
    pod,
    rbac,
    service,
    service_network,
    workload,
)
from fairway.apiserver.validation.metadata import metadata_update
from fairway.apiserver.validation.warnings import (
    endpoint_slice_warnings,
    network_policy_warnings,
    service_warnings,
)
from fairway.objects.codec import Document
from fairway.objects.networking import SERVICE_CIDR_FINALIZER
from fairway.objects.resources import Resource
from fairway.objects.status import FieldError

Errors = list[FieldError]


class NamespaceRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.namespace(document)

    def prepare_create(self, document: Document) -> Document:
        document["spec"] = {"finalizers": ["kubernetes"]}
        document["status"] = {"phase": "Active"}
        return document

    def prepare_update(self, old: Document, new: Document) -> Document:
        # Only the finalize subresource changes these.
        new["spec"] = old.get("spec", {})
        return new

    def validate(self, document: Document) -> Errors:
        return cluster.validate_namespace(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return cluster.validate_namespace_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class NodeRules(Rules):
    """A Node brings its own status: the agent on it registers it with what it knows of itself."""

    def default(self, document: Document) -> Document:
        return defaults.node(document)

    def validate(self, document: Document) -> Errors:
        return cluster.validate_node(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return cluster.validate_node_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return cluster.validate_node_status(new, old)


class PodRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.pod(document)

    def prepare_create(self, document: Document) -> Document:
        document["status"] = {"phase": "Pending", "qosClass": quality_of_service(document["spec"])}
        return document

    def validate(self, document: Document) -> Errors:
        return pod.validate(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return pod.validate_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class ServiceRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.service(document)

    def prepare_create(self, document: Document) -> Document:
        document["status"] = {"loadBalancer": {}}
        return document

    def prepare_update(self, old: Document, new: Document) -> Document:
        # The fields of spec that the new type has no use for are gone already: the allocator drops them.
        if new["spec"].get("type") != "LoadBalancer" and may_have_node_ports(old["spec"]):
            new.setdefault("status", {})["loadBalancer"] = {}
        return new

    def validate(self, document: Document) -> Errors:
        return service.validate(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return service.validate_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return service.validate_status(new, old)


class EndpointSliceRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.endpoint_slice(document)

    def validate(self, document: Document) -> Errors:
        return endpointslice.validate(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return endpointslice.validate_update(new, old)


class DeploymentRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.deployment(document)

    def prepare_create(self, document: Document) -> Document:
        document["status"] = {}
        return document

    def validate(self, document: Document) -> Errors:
        return workload.validate_deployment(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return workload.validate_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old) + workload.validate_counts(new)


class ReplicaSetRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.replica_set(document)

    def prepare_create(self, document: Document) -> Document:
        document["status"] = {"replicas": 0}
        return document

    def validate(self, document: Document) -> Errors:
        return workload.validate_replica_set(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return workload.validate_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old) + workload.validate_counts(new)


class EndpointsRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.endpoints(document)

    def validate(self, document: Document) -> Errors:
        return endpoints.validate(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return endpoints.validate_update(new, old)


class EventRules(Rules):
    """``later``: the form of events.k8s.io, which is checked, as it is stored, in that of v1."""

    def __init__(self, *, later: bool = False) -> None:
        self._later = later

    def _stored(self, document: Document) -> Document:
        return to_stored(document) if self._later else document

    def validate(self, document: Document) -> Errors:
        return event.validate(self._stored(document), later=self._later)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return event.validate_update(self._stored(new), self._stored(old), later=self._later)


class ConfigMapRules(Rules):
    def validate(self, document: Document) -> Errors:
        return configuration.validate_config_map(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return configuration.validate_config_map_update(new, old)


class SecretRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.secret(document)

    def validate(self, document: Document) -> Errors:
        return configuration.validate_secret(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return configuration.validate_secret_update(new, old)


class ServiceAccountRules(Rules):
    def validate(self, document: Document) -> Errors:
        return cluster.validate_service_account(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class LeaseRules(Rules):
    def validate(self, document: Document) -> Errors:
        return cluster.validate_lease(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class ServiceCIDRRules(Rules):
    """A network is ready as soon as it is stored, and stays while an address in it is held."""

    def prepare_create(self, document: Document) -> Document:
        meta = document["metadata"]
        if SERVICE_CIDR_FINALIZER not in meta.setdefault("finalizers", []):
            meta["finalizers"].append(SERVICE_CIDR_FINALIZER)
        document["status"] = {"conditions": [ready_condition(meta.get("creationTimestamp"))]}
        return document

    def validate(self, document: Document) -> Errors:
        return service_network.validate_service_cidr(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return service_network.validate_service_cidr_update(new, old)

    def validate_status(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class IPAddressRules(Rules):
    def validate(self, document: Document) -> Errors:
        return service_network.validate_ip_address(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return service_network.validate_ip_address_update(new, old)


class NetworkPolicyRules(Rules):
    def default(self, document: Document) -> Document:
        return defaults.network_policy(document)

    def validate(self, document: Document) -> Errors:
        return network_policy.validate(document)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return network_policy.validate_update(new, old)


class RoleRules(Rules):
    """``namespaced``: a Role, which cannot be about paths that are no objects."""

    def __init__(self, *, namespaced: bool) -> None:
        self._namespaced = namespaced

    def validate(self, document: Document) -> Errors:
        return rbac.validate_role(document, namespaced=self._namespaced)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return metadata_update(new, old)


class RoleBindingRules(Rules):
    def __init__(self, *, namespaced: bool) -> None:
        self._namespaced = namespaced

    def default(self, document: Document) -> Document:
        return defaults.role_binding(document)

    def validate(self, document: Document) -> Errors:
        return rbac.validate_binding(document, namespaced=self._namespaced)

    def validate_update(self, old: Document, new: Document) -> Errors:
        return rbac.validate_binding_update(new, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("v1", "Namespace"): NamespaceRules(),
    ("v1", "Node"): NodeRules(),
    ("v1", "Pod"): PodRules(),
    ("v1", "Service"): ServiceRules(),
    ("v1", "ServiceAccount"): ServiceAccountRules(),
    ("v1", "Event"): EventRules(),
    ("v1", "Endpoints"): EndpointsRules(),
    ("v1", "ConfigMap"): ConfigMapRules(),
    ("v1", "Secret"): SecretRules(),
    ("coordination.k8s.io/v1", "Lease"): LeaseRules(),
    ("discovery.k8s.io/v1", "EndpointSlice"): EndpointSliceRules(),
    ("events.k8s.io/v1", "Event"): EventRules(later=True),
    ("networking.k8s.io/v1", "ServiceCIDR"): ServiceCIDRRules(),
    ("networking.k8s.io/v1", "IPAddress"): IPAddressRules(),
    ("networking.k8s.io/v1", "NetworkPolicy"): NetworkPolicyRules(),
    ("apps/v1", "Deployment"): DeploymentRules(),
    ("apps/v1", "ReplicaSet"): ReplicaSetRules(),
    ("rbac.authorization.k8s.io/v1", "Role"): RoleRules(namespaced=True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): RoleBindingRules(namespaced=True),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): RoleRules(namespaced=False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): RoleBindingRules(namespaced=False),
}


def strategy(resource: Resource) -> Strategy:
    """The rules of a kind; without opinions for one that has none."""
    return STRATEGIES.get((resource.api_version, resource.kind), Rules())


def warnings(document: Document) -> list[str]:
    """The ``Warning`` headers for a document that is stored all the same."""
    match document.get("kind"):
        case "Service":
            return service_warnings(document)
        case "EndpointSlice":
            return endpoint_slice_warnings(document)
        case "NetworkPolicy":
            return network_policy_warnings(document)
    return []


def quality_of_service(spec: Document) -> str:
    """Guaranteed when every container's requests are its limits, BestEffort when none has any, else Burstable."""
    resources = [container.get("resources", {}) for container in defaults.all_containers(spec)]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    bounded = all({"cpu", "memory"} <= set(one.get("limits", {})) for one in resources)
    same = all(one.get("requests", one.get("limits")) == one.get("limits") for one in resources)
    return "Guaranteed" if bounded and same else "Burstable"


def ready_condition(time: str | None) -> Document:
    """Of a ServiceCIDR that addresses can be taken from, since an RFC 3339 time."""
    return {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": time,
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
    }
