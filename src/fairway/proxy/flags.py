"""The command line of `fairway proxy`: kube-proxy's flags, and which field of the document each one sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fairway.proxy.document import KubeProxyConfiguration, Logging, LogOptions, document_at

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
    """How pods are told from other clients: ClusterCIDR (--cluster-cidr), NodeCIDR (the Node's spec.podCIDRs),
    BridgeInterface (--pod-bridge-interface), or InterfaceNamePrefix (--pod-interface-name-prefix)."""
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
    stale_connections: str = "keep"
    """What becomes of TCP and SCTP connections to a backend that left: keep them until their ends notice, or cut them
    at once. A Service says otherwise by the annotation fairway.dev/stale-connections. UDP flows are always cut."""
    oom_score_adj: int = -999
    """How unlikely this process is to be killed when memory is short: -1000 (never) to 1000 (first)."""
    iptables_sync_period: str = "30s"
    """Twice this long may a change wait for the kernel until /healthz says so."""
    iptables_min_sync_period: str = "1s"
    """Taken for kube-proxy's sake: changes go to the kernel at once."""
    iptables_flat: bool = False
    """In the iptables mode: kube-proxy's own rules, one after the other, instead of dispatch trees."""
    iptables_variant: str = ""
    """In the iptables mode: nft or legacy; by default the one that is in use here."""
    nftables_own_tables: bool = True
    """In the nftables mode: the kernel lets nobody else change the proxy's tables while it runs (Linux 6.9 and later).
    Switched off, others' changes are noticed and put back."""
    iptables_masquerade_bit: int = 14
    """The bit of the packet mark for what is masqueraded, in the modes that mark packets."""
    iptables_localhost_nodeports: bool | None = None
    """Node ports answer at 127.0.0.1, too: in the iptables mode by default, in others when it is said."""
    localhost_nodeports: bool = False
    """Node ports answer this node's own processes at 127.0.0.1, too, which sets net.ipv4.conf.all.route_localnet."""
    answer_ping: bool = False
    """Answer pings of the cluster IPs and load-balancer IPs of Services."""
    service_metrics: int = 0
    """So many Services, the busiest, have metrics of their own: new connections and active flows; 0: none has."""
    ipvs_scheduler: str = ""
    """The scheduler of the ipvs mode; empty: rr."""
    ipvs_exclude_cidrs: str = ""
    """Networks whose virtual servers in the ipvs mode are somebody else's, with commas between them."""
    ipvs_strict_arp: bool = False
    """Answer ARP only for addresses of the interface it came by, and announce only those (ipvs mode)."""
    ipvs_sync_period: str = "30s"
    """As --iptables-sync-period, in the ipvs mode."""
    ipvs_min_sync_period: str = "0s"
    """Taken for kube-proxy's sake: changes go to the kernel at once."""
    ipvs_tcp_timeout: str = "0s"
    """How long the ipvs mode remembers an idle TCP connection; 0 leaves the kernel's own timeout."""
    ipvs_tcpfin_timeout: str = "0s"
    """How long it remembers one after a FIN; 0 leaves the kernel's own timeout."""
    ipvs_udp_timeout: str = "0s"
    """How long it remembers a UDP flow; 0 leaves the kernel's own timeout."""
    feature_gates: str = ""
    """NAME=true,NAME=false. AllowServiceExternalIPs=false takes no traffic for external IPs; ComponentFlagz=false and
    ComponentStatusz=false do not serve /flagz and /statusz; others have no effect."""
    healthz_port: int | None = None
    """Deprecated: the port of --healthz-bind-address; 0 switches it off."""
    metrics_port: int | None = None
    """Deprecated: the port of --metrics-bind-address; 0 switches it off."""
    logging_format: str = "text"
    """How the log is written: text, or json with one object a line."""
    vmodule: str = ""
    """Modules of the proxy that say more: PATTERN=N,PATTERN=N, such as sync=4."""
    log_flush_frequency: str = "5s"
    """Taken for kube-proxy's sake: each line is written at once."""
    log_json_info_buffer_size: str = "0"
    """Taken for kube-proxy's sake: each line is written at once."""
    log_json_split_stream: bool = False
    """Taken for kube-proxy's sake: the log goes to standard error."""
    log_text_info_buffer_size: str = "0"
    """As --log-json-info-buffer-size."""
    log_text_split_stream: bool = False
    """As --log-json-split-stream."""
    show_hidden_metrics_for_version: str = ""
    """Taken for kube-proxy's sake: no metric is hidden."""
    canary_address: str = "169.254.80.79"
    """An address that nobody else uses, through which the proxy asks itself for /healthz; empty: it does not."""
    state_file: str = "default"
    """Where the last known state is kept for a start without the API; empty: nowhere. By default
    /var/lib/fairway/proxy/NODE.json."""
    access_log: str = "-"
    """The file of the access log of relayed Services; "-" is standard output."""
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
    "iptables_masquerade_bit": "iptables.masqueradeBit",
    "iptables_localhost_nodeports": "iptables.localhostNodePorts",
    "ipvs_scheduler": "ipvs.scheduler",
    "ipvs_exclude_cidrs": "ipvs.excludeCIDRs",
    "ipvs_strict_arp": "ipvs.strictARP",
    "ipvs_sync_period": "ipvs.syncPeriod",
    "ipvs_min_sync_period": "ipvs.minSyncPeriod",
    "ipvs_tcp_timeout": "ipvs.tcpTimeout",
    "ipvs_tcpfin_timeout": "ipvs.tcpFinTimeout",
    "ipvs_udp_timeout": "ipvs.udpTimeout",
    "logging_format": "logging.format",
    "vmodule": "logging.vmodule",
    "log_flush_frequency": "logging.flushFrequency",
    "log_json_info_buffer_size": "logging.options.json.infoBufferSize",
    "log_json_split_stream": "logging.options.json.splitStream",
    "log_text_info_buffer_size": "logging.options.text.infoBufferSize",
    "log_text_split_stream": "logging.options.text.splitStream",
    "show_hidden_metrics_for_version": "showHiddenMetricsForVersion",
    "iptables_sync_period": "nftables.syncPeriod",
    "iptables_min_sync_period": "nftables.minSyncPeriod",
    "iptables_flat": "iptables.flat",
    "iptables_variant": "iptables.variant",
    "nftables_own_tables": "nftables.ownTables",
    "feature_gates": "featureGates",
    "pod_bridge_interface": "detectLocal.bridgeInterface",
    "pod_interface_name_prefix": "detectLocal.interfaceNamePrefix",
    "config_sync_period": "configSyncPeriod",
    "kube_api_qps": "clientConnection.qps",
    "kube_api_burst": "clientConnection.burst",
    "kube_api_content_type": "clientConnection.contentType",
    "profiling": "enableProfiling",
}
LOGGING = frozenset(name for name, path in _PATHS.items() if path.startswith("logging."))
BESIDE_A_FILE = LOGGING | {"hostname_override"}
"""Those that count even when there is a file, as with kube-proxy (kubeadm's DaemonSet relies on the name)."""
_OLD_PORTS = {"healthz_port": "healthzBindAddress", "metrics_port": "metricsBindAddress"}
FLAG_OF = {path: "--" + name.replace("_", "-") for name, path in _PATHS.items()}


def document_of(flags: Flags) -> KubeProxyConfiguration:
    """The document that says the same as these flags; raises `ValueError` that begins with the flag."""
    values = {_PATHS[name]: _value(name, value) for name, value in given(flags).items() if name in _PATHS}
    for name, path in _OLD_PORTS.items():
        port = getattr(flags, name)
        if port is not None:
            if not 0 <= port <= 65535:
                raise ValueError(f"--{name.replace('_', '-')}: {port} must be from 0 to 65535")
            values[path] = _with_port(
                values.get(path, getattr(flags, f"{name.removesuffix('port')}bind_address")), port
            )
    return document_at(values)


def logging_of(flags: Flags, document: KubeProxyConfiguration) -> Logging:
    """How to log: as the file says, but for what the command line does."""
    said = {_PATHS[name].removeprefix("logging."): value for name, value in given(flags).items() if name in LOGGING}
    own = document_at({f"logging.{field}": _value(field, value) for field, value in said.items()}).logging
    written = document.logging
    return Logging(
        format=own.format if "format" in said else written.format,
        flush_frequency=own.flush_frequency if "flushFrequency" in said else written.flush_frequency,
        verbosity=written.verbosity,
        vmodule=own.vmodule if "vmodule" in said else written.vmodule,
        options=own.options if own.options != LogOptions() else written.options,
    )


def given(flags: Flags) -> Mapping[str, Any]:
    """Those that are not at their default."""
    return {one.name: value for one in fields(flags) if (value := getattr(flags, one.name)) != one.default}


def ignored(flags: Flags) -> list[str]:
    """Flags that a file overrides, each with its dashes."""
    fields_of_files = (*_PATHS, *_OLD_PORTS)
    return [
        "--" + name.replace("_", "-") for name in given(flags) if name in fields_of_files and name not in BESIDE_A_FILE
    ]


def _value(name: str, value: Any) -> Any:
    if name == "nodeport_addresses":
        return [part.strip() for part in value.split(",") if part.strip()] or [PRIMARY]
    if name == "feature_gates":
        return _gates(value)
    if name == "ipvs_exclude_cidrs":
        return [part.strip() for part in value.split(",") if part.strip()]
    if name == "vmodule":
        return [_module(part.strip()) for part in value.split(",") if part.strip()]
    return value


def _with_port(address: str, port: int) -> str:
    """An address that --healthz-bind-address may hold, with another port; nothing when that is 0."""
    if port == 0:
        return ""
    has_port = address.count(":") == 1 or "]:" in address
    host = address.rpartition(":")[0] if has_port else address
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _module(text: str) -> dict[str, Any]:
    """An item of logging.vmodule."""
    pattern, _, number = text.rpartition("=")
    if not pattern or not (number.isascii() and number.isdigit()):
        raise ValueError(f'--vmodule: "{text}" must be PATTERN=N, such as sync=4')
    return {"filePattern": pattern, "verbosity": int(number)}


def _gates(text: str) -> dict[str, bool]:
    found = {}
    for part in (one.strip() for one in text.split(",") if one.strip()):
        name, _, value = part.partition("=")
        if value.lower() not in ("true", "false"):
            raise ValueError(f'--feature-gates: "{part}" must be NAME=true or NAME=false')
        found[name.strip()] = value.lower() == "true"
    return found
