"""Topology hints: for whom an endpoint is meant, when a Service wants its traffic kept close (reference, 6.2)."""

from __future__ import annotations

from fairway.objects.endpointslice import EndpointHints, ForNode, ForZone
from fairway.objects.service import Service

TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
# The older name of the annotation; where both are given it wins.
TOPOLOGY_AWARE_HINTS = "service.kubernetes.io/topology-aware-hints"
SAME_ZONE = ("PreferClose", "PreferSameZone", "PreferSameNode")


def wants_topology_mode(service: Service) -> bool:
    """Whether hints in proportion to the zones' CPUs are asked for, which turns ``trafficDistribution`` off."""
    mode = service.metadata.annotation(TOPOLOGY_AWARE_HINTS) or service.metadata.annotation(TOPOLOGY_MODE)
    return mode in ("Auto", "auto")


def hints(service: Service, zone: str, node: str) -> EndpointHints | None:
    """The hints of a ready endpoint in that zone on that node; either may be unknown (empty)."""
    distribution = service.spec.traffic_distribution
    if distribution not in SAME_ZONE or wants_topology_mode(service):
        return None
    for_zones = (ForZone(name=zone),) if zone else None
    for_nodes = (ForNode(name=node),) if node and distribution == "PreferSameNode" else None
    return EndpointHints(for_zones=for_zones, for_nodes=for_nodes) if for_zones or for_nodes else None
