"""What a verdict alone leaves open: why an endpoint is not asked, and whose an address is that no frontend has. Pure.

delivered to its only backend: internalTrafficPolicy=Cluster
  10.244.1.3:8080  pod shop/web-1 on n1  sees the client's address 10.244.1.2
not asked: 1 not ready; 2 hinted for other zones than zone-a        ◀── this
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fairway.diagnose.cluster import Cluster
from fairway.diagnose.journey import Hop
from fairway.model.address import ANY, canonical, family_of
from fairway.model.candidates import Group, PortNumbers, place_of, preference
from fairway.model.decide import client_of
from fairway.model.packet import ICMP, Packet, Verdict
from fairway.model.topology import (
    FOR_NODE,
    FOR_ZONE,
    HERE,
    LAST_RESORT,
    LAST_RESORT_HERE,
    NO_NODE_HINT,
    NO_ZONE_HINT,
    READY,
    TERMINATING,
    Candidate,
)
from fairway.model.view import ActionKind, Frontend, FrontendKey, FrontendKind, NodeSettings, Pool
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import HEADLESS_LABEL, PROXY_NAME_LABEL, Service


def remarks(hop: Hop, cluster: Cluster) -> Iterator[str]:
    """Of the node that settled the packet, a line each; nothing where the verdict says all."""
    key = hop.outcome.frontend
    if key is None:
        yield from _of_nobodys(hop, cluster)
        return
    frontend = hop.view.frontends[key]
    if frontend.kind in (FrontendKind.OTHER_PORTS, FrontendKind.PING):
        return
    slices = cluster.slices.get(frontend.service, [])
    headless = list(_headless(slices))
    yield from headless
    counting = [one for one in slices if _counts(one, frontend)]
    candidates = _candidates(counting, frontend, hop.view.settings)
    if candidates:
        yield from _left_out(hop, frontend, candidates)
    elif hop.outcome.verdict is Verdict.REJECT and (counting or not headless):
        yield _why_nobody(counting, frontend)


def _counts(slice_: EndpointSlice, frontend: Frontend) -> bool:
    headless = HEADLESS_LABEL in (slice_.metadata.labels or ())
    return not headless and slice_.address_type == family_of(frontend.address)


def _headless(slices: list[EndpointSlice]) -> Iterator[str]:
    for one in slices:
        if HEADLESS_LABEL in (one.metadata.labels or ()):
            yield f"not asked: the endpoints of EndpointSlice {one.key}, which has the label {HEADLESS_LABEL}"


def _why_nobody(slices: list[EndpointSlice], frontend: Frontend) -> str:
    if not slices:
        return f"there is no EndpointSlice of {frontend.service} for {family_of(frontend.address)}"
    if not any(one.endpoints for one in slices):
        return "its EndpointSlices have no endpoints: no pod fits the selector, or nobody has written any"
    called = (
        f"{frontend.port_name!r} ({frontend.protocol})"
        if frontend.port_name
        else f"without a name ({frontend.protocol})"
    )
    return f"none of its EndpointSlices has a port {called}"


def _candidates(slices: list[EndpointSlice], frontend: Frontend, settings: NodeSettings) -> list[Candidate]:
    """Every endpoint of the frontend's Service port, the better one of those with one place."""
    best: dict[tuple[str, int], Candidate] = {}
    for slice_ in slices:
        numbers = PortNumbers().of(slice_, (frontend.port_name, frontend.protocol))
        for one in Group.of(slice_, numbers, settings, None):
            place = place_of(one[0])
            best[place] = max(best.get(place, one), one, key=preference)
    return list(best.values())


def _left_out(hop: Hop, frontend: Frontend, candidates: list[Candidate]) -> Iterator[str]:
    outcome, settings = hop.outcome, hop.view.settings
    action = frontend.action(client_of(hop.trace.packet, settings))
    if outcome.verdict is Verdict.DROP and action.kind is ActionKind.FORWARD:
        return  # by source ranges, whoever is behind
    pool = Pool.LOCAL if outcome.verdict is Verdict.DROP else action.pool
    asked = {place_of(one) for one in frontend.pool(pool)} if outcome.verdict is Verdict.DELIVER else set()
    some = 0
    for _, traits in candidates:
        some |= traits
    if asked and all(traits & LAST_RESORT for one, traits in candidates if place_of(one) in asked):
        nobody = "nobody on this node is ready" if pool is Pool.LOCAL else "nobody is ready"
        yield f"{nobody}: who still serves while it terminates is asked"
    reasons = Counter(
        _why_not(traits, pool, some, settings) for one, traits in candidates if place_of(one) not in asked
    )
    if reasons:
        yield "not asked: " + "; ".join(f"{number} {why}" for why, number in sorted(reasons.items()))


def _why_not(traits: int, pool: Pool, some: int, settings: NodeSettings) -> str:
    if not traits & (READY | LAST_RESORT):
        return "terminating, and serves no more" if traits & TERMINATING else "not ready"
    if pool is Pool.LOCAL and not traits & (HERE | LAST_RESORT_HERE):
        return "on other nodes"
    if not traits & READY:
        return "terminating, while others are ready"
    if pool is Pool.CLUSTER and some & FOR_NODE and not some & NO_NODE_HINT and not traits & FOR_NODE:
        return f"hinted for other nodes than {settings.name}"
    if pool is Pool.CLUSTER and some & FOR_ZONE and not some & NO_ZONE_HINT and not traits & FOR_ZONE:
        return f"hinted for other zones than {settings.zone}"
    return "of weight 0, while others weigh more"


def _of_nobodys(hop: Hop, cluster: Cluster) -> Iterator[str]:
    """Who has asked for the address or the node port, and why it is not served."""
    packet, settings = hop.trace.packet, hop.view.settings
    for key in sorted(cluster.services):
        if why := _why_not_served(cluster.services[key], packet, settings):
            yield f"{packet.destination} is {why.format(service=f'Service {key}')}"
    port = hop.view.frontends.get(FrontendKey(ANY[packet.family], packet.protocol, packet.port))
    if packet.protocol != ICMP and port is not None and packet.destination in settings.addresses:
        taken = ", ".join(settings.node_port_addresses or ()) or "none"
        yield f"{packet.port} is a node port of {port.service_port}; on {hop.node} node ports are at: {taken}"


def _why_not_served(service: Service, packet: Packet, settings: NodeSettings) -> str:
    """In words with a place for the Service; nothing for a Service that has not to do with the address."""
    address = packet.destination
    ingress = {canonical(one.ip): one for one in service.status.load_balancer.ingress or () if one.ip}
    external = {canonical(one) for one in service.spec.external_ips or ()}
    if address not in {canonical(one) for one in service.addresses} | set(ingress) | external:
        return ""
    if PROXY_NAME_LABEL in (service.metadata.labels or ()):
        return "an address of {service}, which its label " + PROXY_NAME_LABEL + " leaves to another proxy"
    if address in ingress and ingress[address].ip_mode == "Proxy":
        return "a load balancer of {service} with ipMode Proxy: the balancer itself is to see these packets"
    if address in external and not settings.external_ips:
        return "an external IP of {service}, and the feature gate AllowServiceExternalIPs is closed"
    if packet.protocol == ICMP:
        return f"an address of {{service}}: {_why_no_ping(service, packet, settings)}"
    return "an address of {service}, which has no such port"


def _why_no_ping(service: Service, packet: Packet, settings: NodeSettings) -> str:
    if not settings.answers_pings(packet.family):
        return "this node answers no pings (--answer-ping)"
    if service.spec.load_balancer_source_ranges:
        return "no pings are answered for a Service with loadBalancerSourceRanges"
    return "pings of external IPs are for whoever has the address"
