"""The command line of `fairway proxy`: kube-proxy's flags, and which field of the document each one sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fairway.proxy.document import KubeProxyConfiguration, document_at

PRIMARY = "primary"
HEALTHZ_PORT, METRICS_PORT = 10256, 10249


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
    """Where /metrics, /proxyMode, /configz and /status answer; empty: nowhere."""
    bind_address: str = "0.0.0.0"
    """This node's own address, instead of the one that its Node object names; nothing listens there."""
    bind_address_hard_fail: bool = False
    """End when /healthz or /metrics cannot be served, instead of trying again."""
    conntrack_max_per_core: int = 32768
    """Connections the kernel may track, for each core; 0 leaves the kernel's own limit."""
    conntrack_min: int = 131072
    """Connections the kernel may track at least, however few cores there are."""
    conntrack_tcp_timeout_established: str = "24h0m0s"
    """How long the kernel remembers an idle TCP connection; 0 leaves its own timeout."""
    conntrack_tcp_timeout_close_wait: str = "1h0m0s"
    """How long it remembers one that one side has closed; 0 leaves its own timeout."""
    conntrack_tcp_be_liberal: bool = False
    """Track TCP packets outside of the window too, instead of calling them invalid."""
    conntrack_udp_timeout: str = "0s"
    """How long it remembers a UDP flow without an answer; 0 leaves its own timeout."""
    conntrack_udp_timeout_stream: str = "0s"
    """How long it remembers a UDP flow with answers; 0 leaves its own timeout."""
    oom_score_adj: int = -999
    """How unlikely this process is to be killed when memory is short: -1000 (never) to 1000 (first)."""
    iptables_sync_period: str = "30s"
    """Twice this long may a change wait for the kernel until /healthz says so."""
    iptables_min_sync_period: str = "1s"
    """Taken for kube-proxy's sake: changes go to the kernel at once."""
    feature_gates: str = ""
    """Taken for kube-proxy's sake: NAME=true,NAME=false."""
    canary_address: str = "169.254.80.79"
    """An address that nobody else uses, through which the proxy asks itself for /healthz; empty: it does not."""
    state_file: str = "default"
    """Where the last known state is kept for a start without the API; empty: nowhere. By default
    /var/lib/fairway/proxy/NODE.json."""
    pod_bridge_interface: str = ""
    """The bridge of this node's pods, for --detect-local-mode=BridgeInterface."""
    pod_interface_name_prefix: str = ""
    """How the names of the pods' interfaces begin, for --detect-local-mode=InterfaceNamePrefix."""
    config_sync_period: str = "15m0s"
    """Taken for kube-proxy's sake: the watches are never resynchronised by time."""
    kube_api_qps: float = 5.0
    """Taken for kube-proxy's sake: a few lists and watches need no limit."""
    kube_api_burst: int = 10
    """Taken for kube-proxy's sake, as --kube-api-qps."""
    kube_api_content_type: str = "application/vnd.kubernetes.protobuf"
    """Taken for kube-proxy's sake: this proxy asks for JSON."""
    profiling: bool = False
    """Taken for kube-proxy's sake: nothing is served under /debug."""


_PATHS = {
    "hostname_override": "hostnameOverride",
    "proxy_mode": "mode",
    "cluster_cidr": "clusterCIDR",
    "detect_local_mode": "detectLocalMode",
    "nodeport_addresses": "nodePortAddresses",
    "masquerade_all": "nftables.masqueradeAll",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
    "bind_address": "bindAddress",
    "bind_address_hard_fail": "bindAddressHardFail",
    "conntrack_max_per_core": "conntrack.maxPerCore",
    "conntrack_min": "conntrack.min",
    "conntrack_tcp_timeout_established": "conntrack.tcpEstablishedTimeout",
    "conntrack_tcp_timeout_close_wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack_tcp_be_liberal": "conntrack.tcpBeLiberal",
    "conntrack_udp_timeout": "conntrack.udpTimeout",
    "conntrack_udp_timeout_stream": "conntrack.udpStreamTimeout",
    "oom_score_adj": "oomScoreAdj",
    "iptables_sync_period": "nftables.syncPeriod",
    "iptables_min_sync_period": "nftables.minSyncPeriod",
    "feature_gates": "featureGates",
    "pod_bridge_interface": "detectLocal.bridgeInterface",
    "pod_interface_name_prefix": "detectLocal.interfaceNamePrefix",
    "config_sync_period": "configSyncPeriod",
    "kube_api_qps": "clientConnection.qps",
    "kube_api_burst": "clientConnection.burst",
    "kube_api_content_type": "clientConnection.contentType",
    "profiling": "enableProfiling",
}
BESIDE_A_FILE = frozenset({"hostname_override"})
"""Those that count even when there is a file, as with kube-proxy (kubeadm's DaemonSet relies on it)."""
FLAG_OF = {path: "--" + name.replace("_", "-") for name, path in _PATHS.items()}


def document_of(flags: Flags) -> KubeProxyConfiguration:
    """The document that says the same as these flags; raises `ValueError` that begins with the flag."""
    return document_at({_PATHS[name]: _value(name, value) for name, value in given(flags).items() if name in _PATHS})


def given(flags: Flags) -> Mapping[str, Any]:
    """Those that are not at their default."""
    return {one.name: value for one in fields(flags) if (value := getattr(flags, one.name)) != one.default}


def ignored(flags: Flags) -> list[str]:
    """Flags that a file overrides, each with its dashes."""
    return [FLAG_OF[_PATHS[name]] for name in given(flags) if name in _PATHS and name not in BESIDE_A_FILE]


def _value(name: str, value: Any) -> Any:
    if name == "nodeport_addresses":
        return [part.strip() for part in value.split(",") if part.strip()] or [PRIMARY]
    if name == "feature_gates":
        return _gates(value)
    return value


def _gates(text: str) -> dict[str, bool]:
    found = {}
    for part in (one.strip() for one in text.split(",") if one.strip()):
        name, _, value = part.partition("=")
        if value.lower() not in ("true", "false"):
            raise ValueError(f'--feature-gates: "{part}" must be NAME=true or NAME=false')
        found[name.strip()] = value.lower() == "true"
    return found
