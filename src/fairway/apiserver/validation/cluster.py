"""What a Namespace, a Node, a ServiceAccount and a Lease may say."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid, metadata, metadata_update, nonnegative
from fairway.objects.codec import Document
from fairway.objects.status import duplicate, forbidden_field, invalid, not_supported, required

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def validate_namespace(namespace: Document) -> Errors:
    return metadata(namespace, namespaced=False, name_format=formats.dns_label)


def validate_namespace_update(namespace: Document, old: Document) -> Errors:
    return metadata_update(namespace, old)


def validate_node(node: Document) -> Errors:
    spec = node.get("spec", {})
    errors = metadata(node, namespaced=False, name_format=formats.dns_subdomain)
    return errors + _pod_networks(spec) + _taints(spec.get("taints", []))


def validate_node_update(node: Document, old: Document) -> Errors:
    """What a Node may not change: the pod networks and the provider's name for it, once they are set."""
    new, before = node.get("spec", {}), old.get("spec", {})
    errors = metadata_update(node, old)
    if before.get("podCIDRs") and new.get("podCIDRs") != before["podCIDRs"]:
        words = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden_field("spec.podCIDRs", words))
    if before.get("providerID") and new.get("providerID") != before["providerID"]:
        words = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden_field("spec.providerID", words))
    return errors


def validate_node_status(node: Document, old: Document) -> Errors:
    errors = metadata_update(node, old)
    seen: list[Document] = []
    for index, address in enumerate(node.get("status", {}).get("addresses", [])):
        if address in seen:
            errors.append(duplicate(f"status.addresses[{index}]", address))
        seen.append(address)
    return errors


def validate_service_account(account: Document) -> Errors:
    return metadata(account, namespaced=True, name_format=formats.dns_subdomain)


def validate_lease(lease: Document) -> Errors:
    errors = metadata(lease, namespaced=True, name_format=formats.dns_subdomain)
    spec = lease.get("spec", {})
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    errors += nonnegative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if spec.get("strategy"):
        errors += each_invalid("spec.strategy", spec["strategy"], formats.qualified_name(spec["strategy"]))
    elif spec.get("preferredHolder"):
        errors.append(forbidden_field("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return errors


def _pod_networks(spec: Document) -> Errors:
    networks, path = spec.get("podCIDRs", []), "spec.podCIDRs"
    errors: Errors = []
    if spec.get("podCIDR", "") != (networks[0] if networks else ""):
        errors.append(invalid(path, networks, "first value must match `podCIDR`"))
    for index, text in enumerate(networks):
        errors += each_invalid(f"{path}[{index}]", text, formats.network(text))
    if len(networks) > 2 or len({formats.family(text) for text in networks}) < len(networks):
        errors.append(invalid(path, networks, "may specify no more than one CIDR for each IP family"))
    return errors


def _taints(taints: list[Document]) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path = f"spec.taints[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        errors += each_invalid(f"{path}.key", key, formats.qualified_name(key))
        errors += each_invalid(f"{path}.value", value, formats.label_value(value))
        if not effect:
            errors.append(required(f"{path}.effect"))
        elif effect not in _EFFECTS:
            errors.append(not_supported(f"{path}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            errors.append(duplicate(path, taint))
        seen.add((key, effect))
    return errors
