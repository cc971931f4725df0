"""The flags of `fairway proxy`, checked: kube-proxy's names and meanings, one clear sentence for each thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from fairway.model.address import canonical, canonical_network, family_of

MODES = ("nftables",)
"""The modes that exist now."""
REFERENCE_MODES = ("iptables", "ipvs", "nftables")
DETECT_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR")
REFERENCE_DETECT_LOCAL_MODES = (*DETECT_LOCAL_MODES, "BridgeInterface", "InterfaceNamePrefix")
PRIMARY = "primary"
HEALTHZ_PORT, METRICS_PORT = 10256, 10249

T = TypeVar("T")


class ConfigurationError(Exception):
    """Flags that cannot be used; ``problems`` has one sentence for each, beginning with the flag."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Bind(NamedTuple):
    """Where a server listens; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What the user wrote, unchecked."""

    hostname_override: str = ""
    """This node's name in the API; empty: the machine's."""
    proxy_mode: str = "nftables"
    """How the kernel is made to do it."""
    cluster_cidr: str = ""
    """Networks of all pods, one of each family at most: clients elsewhere are masqueraded."""
    detect_local_mode: str = "ClusterCIDR"
    """How pods are told from other clients: ClusterCIDR (--cluster-cidr) or NodeCIDR (the Node's spec.podCIDRs)."""
    service_cluster_ip_range: str = ""
    """Networks of cluster IPs: what goes there and is for no Service is dropped instead of sent away."""
    nodeport_addresses: str = PRIMARY
    """Which addresses take node ports: "primary" (the Node's own), or networks, 0.0.0.0/0,::/0 for all."""
    masquerade_all: bool = False
    """Masquerade everything that goes to a cluster IP."""
    healthz_bind_address: str = f"0.0.0.0:{HEALTHZ_PORT}"
    """Where /healthz and /livez answer; empty: nowhere."""
    metrics_bind_address: str = f"127.0.0.1:{METRICS_PORT}"
    """Where /metrics, /proxyMode and /status answer; empty: nowhere."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a proxy was told, checked and in canonical form.

    ``pod_networks`` is None when the Node's podCIDRs are to be used. ``node_ports`` is None for the Node's primary
    addresses, else the networks whose local addresses take node ports. A bind address is None when it is switched off.
    """

    node_name: str
    mode: str
    pod_networks: tuple[str, ...] | None
    service_networks: tuple[str, ...]
    node_ports: tuple[str, ...] | None
    masquerade_all: bool
    healthz: Bind | None
    metrics: Bind | None


def configure(flags: Flags, hostname: str) -> Configuration:
    """Check every flag; raises `ConfigurationError` with all that is wrong at once."""
    problems: list[str] = []

    def check(flag: str, parse: Callable[[str], T], text: str, otherwise: T) -> T:
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"{flag}: {error}")
            return otherwise

    nowhere: tuple[str, ...] = ()
    local_mode = check("--detect-local-mode", _local_mode, flags.detect_local_mode, "ClusterCIDR")
    cluster = check("--cluster-cidr", _dual_networks, flags.cluster_cidr, nowhere)
    found = Configuration(
        node_name=check("--hostname-override", _node_name, flags.hostname_override or hostname, ""),
        mode=check("--proxy-mode", _mode, flags.proxy_mode, ""),
        pod_networks=None if local_mode == "NodeCIDR" else cluster,
        service_networks=check("--service-cluster-ip-range", _dual_networks, flags.service_cluster_ip_range, nowhere),
        node_ports=check("--nodeport-addresses", _node_ports, flags.nodeport_addresses, None),
        masquerade_all=flags.masquerade_all,
        healthz=check(
            "--healthz-bind-address", lambda text: _bind(text, HEALTHZ_PORT), flags.healthz_bind_address, None
        ),
        metrics=check(
            "--metrics-bind-address", lambda text: _bind(text, METRICS_PORT), flags.metrics_bind_address, None
        ),
    )
    if problems:
        raise ConfigurationError(problems)
    return found


def _one_of(text: str, known: tuple[str, ...], reference: tuple[str, ...], noun: str) -> str:
    if text in known:
        return text
    here = " and ".join(known)
    if text in reference:
        raise ValueError(f'{noun} "{text}" does not exist in this version of Fairway; it has {here}')
    raise ValueError(f'unknown {noun} "{text}"; it must be {" or ".join(known)}')


def _mode(text: str) -> str:
    # kube-proxy's empty mode means iptables, which nobody should get by surprise here: empty is our default.
    return _one_of(text or MODES[0], MODES, REFERENCE_MODES, "mode")


def _local_mode(text: str) -> str:
    return _one_of(text or "ClusterCIDR", DETECT_LOCAL_MODES, REFERENCE_DETECT_LOCAL_MODES, "mode")


def _node_name(text: str) -> str:
    name = text.strip().lower()
    if not name or len(name) > 253 or not all(_is_label(label) for label in name.split(".")):
        raise ValueError(f'"{text}" is no node name: letters, digits, "-" and ".", such as worker-1')
    return name


def _is_label(label: str) -> bool:
    allowed = label.replace("-", "a")
    return label != "" and label.strip("-") == label and allowed.isascii() and allowed.isalnum()


def _networks(text: str) -> tuple[str, ...]:
    found = []
    for part in (one.strip() for one in text.split(",") if one.strip()):
        network = canonical_network(part) if "/" in part else None
        if network is None:
            raise ValueError(f'"{part}" is not a network in CIDR form, such as 10.244.0.0/16')
        found.append(network)
    return tuple(found)


def _dual_networks(text: str) -> tuple[str, ...]:
    """At most one network of each family."""
    found = _networks(text)
    if len({family_of(network) for network in found}) != len(found):
        raise ValueError(f'"{text}" must have at most one IPv4 and one IPv6 network')
    return found


def _node_ports(text: str) -> tuple[str, ...] | None:
    parts = [one.strip() for one in text.split(",") if one.strip()]
    if not parts or parts == [PRIMARY]:
        return None
    if PRIMARY in parts:
        raise ValueError(f'"{PRIMARY}" must stand alone: it means the Node\'s own addresses')
    return _networks(text)


def _bind(text: str, default_port: int) -> Bind | None:
    """An address and a port; the port may be missing, nothing at all switches the server off."""
    text = text.strip()
    if not text:
        return None
    host, port = text, str(default_port)
    if (text.startswith("[") and "]:" in text) or text.count(":") == 1:
        host, _, port = text.rpartition(":")
    address = canonical(host.removeprefix("[").removesuffix("]"))
    if address is None:
        raise ValueError(f'"{text}" is no IP address and port, such as 127.0.0.1:{default_port}')
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f'"{port}" is no port: a number from 0 to 65535')
    return Bind(address, int(port))
