"""What an update keeps from the old Service, and what it drops: the reference's section 5.3.

A user who applies a manifest without addresses and ports means those that are there, and one who changes the type
does not mean to keep what the new type has no use for. Both only where the user did not say otherwise.
"""

from __future__ import annotations

from typing import Any

from fairway.apiserver.validation.service import externally_accessible, needs_health_check
from fairway.objects.codec import Document


def needs_addresses(spec: Document) -> bool:
    return spec.get("type") != "ExternalName"


def may_have_node_ports(spec: Document) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def wants_node_ports(spec: Document) -> bool:
    """Whether a port without a node port gets one."""
    return spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def carry_over(old: Document, new: Document) -> None:
    """Fill what was allocated before and is left open now (``patchAllocatedValues``); changes ``new``."""
    if needs_addresses(old) and needs_addresses(new):
        _fill(new, "clusterIP", old.get("clusterIP"))
        if new.get("clusterIP") == old.get("clusterIP"):
            _fill(new, "clusterIPs", list(old.get("clusterIPs", [])))
    if wants_node_ports(old) and wants_node_ports(new):
        _carry_node_ports(old, new)
    if needs_health_check(old) and needs_health_check(new):
        _fill(new, "healthCheckNodePort", old.get("healthCheckNodePort"))


def _fill(spec: Document, field: str, value: Any) -> None:
    if not spec.get(field) and value:
        spec[field] = value


def _carry_node_ports(old: Document, new: Document) -> None:
    """A port keeps its node port by its name, unless another port uses that number now."""
    before, now = old.get("ports", []), new.get("ports", [])
    used = {port.get("nodePort") for port in now if port.get("nodePort")}
    by_name = {port.get("name", ""): port.get("nodePort") for port in before}
    for port in now:
        if port.get("nodePort"):
            continue
        known = by_name.get(port.get("name", ""))
        if known and known not in used:
            port["nodePort"] = known
            used.add(known)


def normalize(old: Document | None, new: Document) -> None:
    """Keep ``clusterIP`` and ``clusterIPs`` in step for clients that know only one of them; changes ``new``."""
    primary, addresses = new.get("clusterIP", ""), new.get("clusterIPs", [])
    if old is None:
        if primary and not addresses:
            new["clusterIPs"] = [primary]
        return
    if primary == old.get("clusterIP", "") or addresses != old.get("clusterIPs", []):
        return
    if primary:
        new["clusterIPs"] = [primary]
    else:
        new.pop("clusterIPs", None)


def drop_unused(old: Document, new: Document) -> None:
    """Remove what the new type has no use for, where the user left it as it was; changes ``new``."""
    if needs_addresses(old) and not needs_addresses(new):
        if new.get("clusterIPs") == old.get("clusterIPs") or new.get("clusterIP") == old.get("clusterIP"):
            new.pop("clusterIP", None)
            new.pop("clusterIPs", None)
        _drop(old, new, "ipFamilies", "ipFamilyPolicy")
    if may_have_node_ports(old) and not may_have_node_ports(new) and _node_ports(old) >= _node_ports(new):
        for port in new.get("ports", []):
            port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(new):
        _drop(old, new, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != new.get("type"):
        _drop(old, new, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if externally_accessible(old) and not externally_accessible(new):
        _drop(old, new, "externalTrafficPolicy")


def _drop(old: Document, new: Document, *fields: str) -> None:
    for field in fields:
        if new.get(field) == old.get(field):
            new.pop(field, None)


def _node_ports(spec: Document) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports", []) if port.get("nodePort")}
