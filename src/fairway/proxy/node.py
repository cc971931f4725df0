"""What this node is: its Node object, its interfaces' addresses and the flags become one `NodeSettings`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from fairway.model.address import (
    FAMILIES,
    canonical,
    canonical_network,
    contains,
    family_of,
    is_loopback,
    merged,
    of_family,
)
from fairway.model.view import NodeSettings
from fairway.modes.userspace.program import ADDRESSES
from fairway.objects.cluster import Node
from fairway.objects.networking import ServiceCIDR, service_cidrs
from fairway.proxy.configuration import Configuration

_LOCALHOST = "127.0.0.1"


def settings_of(
    configuration: Configuration,
    node: Node | None,
    local: Iterable[str],
    declared: Iterable[ServiceCIDR] = (),
    *,
    relays: bool = False,
) -> NodeSettings:
    """``node`` is None while the API has no such Node; ``local`` are the addresses of all interfaces.

    ``declared`` are the ServiceCIDRs; the configuration only counts where the API has none. ``relays`` says that the
    mode relays every Service.
    """
    addresses = tuple(sorted({one for one in local if _routable(one)}))
    return NodeSettings(
        name=configuration.node_name,
        zone=node.zone if node else "",
        addresses=addresses,
        pod_networks=_pod_networks(configuration, node),
        pod_interface=configuration.pod_interface,
        service_networks=merged(service_cidrs(declared)) or configuration.service_networks,
        node_port_addresses=_node_port_addresses(configuration, node, addresses),
        localhost_node_ports=configuration.localhost_node_ports,
        answers_ping=_answers_ping(configuration, node, addresses),
        external_ips=configuration.external_ips,
        count_connections=configuration.service_metrics > 0,
        masquerade_all=configuration.masquerade_all,
        relays=relays,
        cut_connections=configuration.cut_connections,
    )


def doubts(configuration: Configuration, node: Node | None) -> list[str]:
    """What a user should know about these settings, as sentences; usually nothing."""
    name = configuration.node_name
    found = []
    if node is None:
        found.append(f"the API has no Node {name}: this node has no zone, and no Service endpoint counts as local")
    if configuration.pod_networks is None and not _pod_networks(configuration, node):
        found.append(f"Node {name} has no spec.podCIDRs: no client counts as a pod until it has")
    elif configuration.pod_networks == () and not configuration.pod_interface and not configuration.masquerade_all:
        found.append(
            "--cluster-cidr is not set: no client counts as a pod, and nothing is masqueraded for coming from elsewhere"
        )
    if configuration.node_ports is None and not _primary(configuration, node):
        found.append(
            f"Node {name} has no address in its status: node ports answer nowhere until it has (--nodeport-addresses)"
        )
    return found


def primary_addresses(node: Node | None) -> tuple[str, ...]:
    """The first InternalIP of each family, else the first ExternalIP; never loopback."""
    found: dict[str, str] = {}
    for kind in ("InternalIP", "ExternalIP"):
        for one in (node.status.addresses if node else None) or ():
            address = canonical(one.address) if one.type == kind else None
            if address and not is_loopback(address):
                found.setdefault(family_of(address), address)
    return tuple(found[family] for family in FAMILIES if family in found)


def _primary(configuration: Configuration, node: Node | None) -> tuple[str, ...]:
    """The Node's own addresses, but for one that --bind-address says better."""
    own = configuration.own_address
    if not own or is_loopback(own):
        return primary_addresses(node)
    return (own, *(one for one in primary_addresses(node) if family_of(one) != family_of(own)))


def _pod_networks(configuration: Configuration, node: Node | None) -> tuple[str, ...]:
    if configuration.pod_networks is not None:
        return configuration.pod_networks
    written = (node.spec.pod_cidrs or (node.spec.pod_cidr,)) if node else ()
    return tuple(network for text in written if text and (network := canonical_network(text)))


def _node_port_addresses(
    configuration: Configuration, node: Node | None, addresses: tuple[str, ...]
) -> tuple[str, ...] | None:
    networks = configuration.node_ports
    if networks is None:
        # The reference takes node ports on every address when it finds no primary one (section 1.G, a quirk): a node
        # whose Node object comes late would answer where nobody allowed it to.
        found = _primary(configuration, node)
        return (*found, _LOCALHOST) if configuration.localhost_node_ports else found
    if {"0.0.0.0/0", "::/0"} <= set(networks):
        return None
    taken = tuple(one for one in addresses if not is_loopback(one) and contains(networks, one))
    return (*taken, _LOCALHOST) if configuration.localhost_node_ports else taken


def _answers_ping(configuration: Configuration, node: Node | None, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """An address of each family that this machine has: the Node's own, else the first that is not loopback.

    A redirection to "the interface's address" would drop pings where pods' interfaces have none.
    """
    if not configuration.answer_ping:
        return ()
    here = [one for one in (*_primary(configuration, node), *addresses) if one in addresses and not is_loopback(one)]
    return tuple(next(iter(of_family(here, family))) for family in FAMILIES if of_family(here, family))


def _routable(address: str) -> bool:
    """Link-local IPv6 addresses come and go with every pod's link, and no Service is reached from or at one.

    The relay's own come with the first Service that needs it, and are nobody else's business.
    """
    if address in ADDRESSES.values():
        return False
    return not (":" in address and ipaddress.IPv6Address(address).is_link_local)
