"""What a proxy is told, checked: flags or a file become one `Configuration`, a clear sentence for each thing wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fairway.model.address import contains
from fairway.objects.codec import DecodeError
from fairway.proxy import gates, values
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration, Logging, changed_fields
from fairway.proxy.flags import FLAG_OF, HEALTHZ_PORT, METRICS_PORT, Flags, document_of, ignored, logging_of
from fairway.proxy.values import Bind

_WITHOUT_EFFECT = {
    "clientConnection.acceptContentTypes": "this proxy speaks JSON",
    "clientConnection.contentType": "this proxy speaks JSON",
    "clientConnection.qps": "a few lists and watches need no limit",
    "clientConnection.burst": "a few lists and watches need no limit",
    "configSyncPeriod": "a watch is never resynchronised by time",
    "enableProfiling": "nothing is served under /debug",
    "ipvs": "it belongs to the ipvs mode",
    "iptables": "it belongs to the iptables mode",
    "iptables.minSyncPeriod": "changes go to the kernel at once",
    "iptables.syncPeriod": "the rules are compared when somebody changes them, not by time",
    "logging.flushFrequency": "each line is written at once",
    "logging.options.json.infoBufferSize": "each line is written at once",
    "logging.options.json.splitStream": "the log goes to standard error",
    "logging.options.text.infoBufferSize": "each line is written at once",
    "logging.options.text.splitStream": "the log goes to standard error",
    "nftables.masqueradeBit": "no mark is set on packets: connection tracking remembers what to masquerade",
    "nftables.minSyncPeriod": "changes go to the kernel at once",
    "portRange": "it belongs to the userspace mode, which is no more",
    "showHiddenMetricsForVersion": "no metric is hidden",
    "windowsRunAsService": "this is Linux",
    "winkernel": "this is Linux",
}
"""Fields that are taken and do nothing here, and why."""
_WITH_EFFECT = {
    "ipvs": frozenset(
        (
            *(f"ipvs.{name}" for name in ("scheduler", "excludeCIDRs", "strictARP")),
            *(f"ipvs.{name}" for name in ("tcpTimeout", "tcpFinTimeout", "udpTimeout")),
            *("iptables.masqueradeBit", "iptables.masqueradeAll"),
        )
    ),
}
"""Fields of one mode that have an effect in that mode."""
_TOO_GREAT = 1 << 31
_MOST_SERVICES = 1000
"""With metrics of their own: each is a few series for whoever stores them."""

T = TypeVar("T")


class ConfigurationError(Exception):
    """What cannot be used; ``problems`` has one sentence for each, beginning with the flag or the field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class TrackingLimits:
    """What the kernel's connection tracking should be set to, in seconds and connections; 0 leaves a value alone."""

    most_per_core: int
    most_at_least: int
    established: float
    close_wait: float
    udp: float
    udp_stream: float
    be_liberal: bool


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a proxy was told, checked and in canonical form.

    ``pod_networks`` is None when the Node's podCIDRs are to be used; ``pod_interface`` is that of `NodeSettings`.
    ``node_ports`` is None for the Node's primary addresses, else the networks whose local addresses take node ports.
    A bind address is None when it is switched off.
    ``own_address`` stands for the Node's primary address of its family, or is empty. A change that waits longer than
    ``patience`` seconds is unhealthy. ``notes`` are sentences about what has no effect; ``document`` is what all of it
    was made from.
    """

    node_name: str
    mode: str
    pod_networks: tuple[str, ...] | None
    pod_interface: str = ""
    service_networks: tuple[str, ...]
    node_ports: tuple[str, ...] | None
    localhost_node_ports: bool = False
    answer_ping: bool = False
    external_ips: bool = True
    service_metrics: int = 0
    masquerade_all: bool
    cut_connections: bool = False
    healthz: Bind | None
    metrics: Bind | None
    own_address: str = ""
    bind_hard: bool = False
    canary: str = ""
    state_file: str = ""
    access_log: str = "-"
    patience: float = 60.0
    tracking: TrackingLimits | None = None
    oom_score: int | None = None
    logging: Logging = DEFAULTS.logging
    notes: tuple[str, ...] = ()
    document: KubeProxyConfiguration = DEFAULTS


@dataclass(frozen=True)
class _Check:
    """Collects what is wrong; ``names`` is how the user called a field: by its flag or by its path."""

    names: Callable[[str], str]
    problems: list[str]

    def __call__(self, path: str, parse: Callable[[Any], T], value: Any, otherwise: T) -> T:
        try:
            return parse(value)
        except ValueError as error:
            self.problems.append(f"{self.names(path)}: {error}")
            return otherwise


def configure(flags: Flags, hostname: str, file: KubeProxyConfiguration | None = None) -> Configuration:
    """Check everything; raises `ConfigurationError` with all that is wrong at once.

    Beside a file only the flags count that it has no field for, and --hostname-override.
    """
    document = file or _from_flags(flags)
    check = _Check((lambda path: path) if file else (lambda path: FLAG_OF.get(path, path)), [])
    name = flags.hostname_override or document.hostname_override or hostname
    local_mode = check("detectLocalMode", values.local_mode, document.detect_local_mode, "ClusterCIDR")
    nowhere: tuple[str, ...] = ()
    cluster = check("clusterCIDR", values.dual_networks, document.cluster_cidr, nowhere)
    own = _Check(lambda flag: flag, check.problems)
    check("iptables.masqueradeBit", values.within(0, 31), document.iptables.masquerade_bit, 0)
    check("iptables.variant", values.iptables_variant, document.iptables.variant, "")
    check("nftables.masqueradeBit", values.within(0, 31), document.nftables.masquerade_bit, 0)
    node_ports = check("nodePortAddresses", values.node_port_networks, document.node_port_addresses, None)
    mode = check("mode", values.proxy_mode, document.mode, "")
    check("featureGates", _gates, document.feature_gates, None)
    found = Configuration(
        node_name=check("hostnameOverride", values.node_name, name, ""),
        mode=mode,
        pod_networks={"NodeCIDR": None, "ClusterCIDR": cluster}.get(local_mode, nowhere),
        pod_interface=_pod_interface(local_mode, document, check),
        service_networks=own(
            "--service-cluster-ip-range", values.dual_networks, flags.service_cluster_ip_range, nowhere
        ),
        node_ports=node_ports,
        localhost_node_ports=_localhost(flags, document, mode, node_ports),
        answer_ping=flags.answer_ping,
        service_metrics=own("--service-metrics", values.within(0, _MOST_SERVICES), flags.service_metrics, 0),
        external_ips=gates.is_on(document.feature_gates, gates.EXTERNAL_IPS),
        masquerade_all=_masquerade_all(document, mode),
        cut_connections=own("--stale-connections", values.cuts_connections, flags.stale_connections, False),
        healthz=check("healthzBindAddress", values.bind(HEALTHZ_PORT), document.healthz_bind_address, None),
        metrics=check("metricsBindAddress", values.bind(METRICS_PORT), document.metrics_bind_address, None),
        own_address=check("bindAddress", values.own_address, document.bind_address, ""),
        canary=own("--canary-address", values.canary_address, flags.canary_address, ""),
        state_file=flags.state_file,
        access_log=flags.access_log,
        bind_hard=document.bind_address_hard_fail,
        patience=2 * _check_periods(document, check),
        tracking=_tracking(document, check),
        oom_score=check("oomScoreAdj", values.within(-1000, 1000), document.oom_score_adj, 0),
        logging=check("logging.format", lambda _: _logging(flags, document), document.logging, DEFAULTS.logging),
        notes=(*_told(flags, file, mode), *(f"{check.names(path)}: {why}" for path, why in _notes(document, mode))),
        document=document,
    )
    _check_ipvs(document, check)
    _check_others(document, check)
    if check.problems:
        raise ConfigurationError(check.problems)
    return found


def _from_flags(flags: Flags) -> KubeProxyConfiguration:
    try:
        return document_of(flags)
    except DecodeError as error:
        raise ConfigurationError([f"{FLAG_OF.get(error.path, error.path)}: {error.problem}"]) from None
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None


def _told(flags: Flags, file: KubeProxyConfiguration | None, mode: str) -> Iterator[str]:
    """What the command line says to no effect."""
    if file is not None:
        yield from (f"{flag}: has no effect beside --config, whose file counts" for flag in ignored(flags))


def _notes(document: KubeProxyConfiguration, mode: str) -> Iterator[tuple[str, str]]:
    for path, value in changed_fields(document):
        if path in _WITH_EFFECT.get(mode, ()):
            continue
        section = path.partition(".")[0]
        why = _WITHOUT_EFFECT.get(path) or (None if section == document.mode else _WITHOUT_EFFECT.get(section))
        if why is not None and value not in ("", {}, []):
            yield path, f"{value!r} has no effect: {why}"
    yield from (("featureGates", note) for note in gates.notes(document.feature_gates))


def _gates(written: dict[str, bool]) -> None:
    if wrong := list(gates.problems(written)):
        raise ValueError("; ".join(wrong))


def _pod_interface(local_mode: str, document: KubeProxyConfiguration, check: _Check) -> str:
    """The one that the mode needs; a ``*`` stands for the rest of a name."""
    match local_mode:
        case "BridgeInterface":
            return check("detectLocal.bridgeInterface", values.interface, document.detect_local.bridge_interface, "")
        case "InterfaceNamePrefix":
            written = document.detect_local.interface_name_prefix
            return check("detectLocal.interfaceNamePrefix", values.interface, written, "") + "*"
        case _:
            return ""


def _masquerade_all(document: KubeProxyConfiguration, mode: str) -> bool:
    """The flag sets the field of nftables; the reference's ipvs mode has none of its own."""
    by_mark = mode in ("iptables", "ipvs") and document.iptables.masquerade_all
    return document.nftables.masquerade_all or by_mark


def _localhost(flags: Flags, document: KubeProxyConfiguration, mode: str, taken: tuple[str, ...] | None) -> bool:
    """The iptables mode does it by default where node ports are taken on loopback addresses, as the reference does."""
    if mode == "iptables" and not flags.localhost_nodeports:
        return document.iptables.localhost_node_ports and taken is not None and contains(taken, "127.0.0.1")
    return flags.localhost_nodeports or flags.iptables_localhost_nodeports is True


def _logging(flags: Flags, document: KubeProxyConfiguration) -> Logging:
    found = logging_of(flags, document)
    if found.format not in ("text", "json"):
        raise ValueError(f'unknown format "{found.format}"; it must be text or json')
    return found


def _check_periods(document: KubeProxyConfiguration, check: _Check) -> float:
    """Of every mode, as the reference does; returns the sync period of the nftables mode, in seconds."""
    found = []
    for mode, written in (("nftables", document.nftables), ("iptables", document.iptables), ("ipvs", document.ipvs)):
        path, least = f"{mode}.syncPeriod", f"{mode}.minSyncPeriod"
        seconds = check(path, values.positive_period, written.sync_period, math.inf)
        shortest = check(least, values.period, written.min_sync_period, 0.0)
        if shortest > seconds:
            problem = f'"{written.min_sync_period}" must not be longer than {check.names(path)}'
            check.problems.append(f'{check.names(least)}: {problem}, which is "{written.sync_period}"')
        found.append(seconds)
    return found[0]


def _check_ipvs(document: KubeProxyConfiguration, check: _Check) -> None:
    written = document.ipvs
    check("ipvs.scheduler", values.ipvs_scheduler, written.scheduler, "")
    check("ipvs.excludeCIDRs", lambda parts: bool(values.networks(",".join(parts))), written.exclude_cidrs, False)
    check("ipvs.tcpTimeout", values.period, written.tcp_timeout, 0.0)
    check("ipvs.tcpFinTimeout", values.period, written.tcp_fin_timeout, 0.0)
    check("ipvs.udpTimeout", values.period, written.udp_timeout, 0.0)


def _check_others(document: KubeProxyConfiguration, check: _Check) -> None:
    """What has no effect here, and would not be taken by the reference."""
    check("configSyncPeriod", values.positive_period, document.config_sync_period, 0.0)
    check("clientConnection.burst", values.within(0, _TOO_GREAT), document.client_connection.burst, 0)
    check("logging.verbosity", values.within(0, _TOO_GREAT), document.logging.verbosity, 0)
    check("logging.flushFrequency", values.period, document.logging.flush_frequency, 0.0)


def _tracking(document: KubeProxyConfiguration, check: _Check) -> TrackingLimits:
    written = document.conntrack
    return TrackingLimits(
        most_per_core=check("conntrack.maxPerCore", values.within(0, _TOO_GREAT), written.max_per_core, 0),
        most_at_least=check("conntrack.min", values.within(0, _TOO_GREAT), written.min, 0),
        established=check("conntrack.tcpEstablishedTimeout", values.period, written.tcp_established_timeout, 0.0),
        close_wait=check("conntrack.tcpCloseWaitTimeout", values.period, written.tcp_close_wait_timeout, 0.0),
        udp=check("conntrack.udpTimeout", values.period, written.udp_timeout, 0.0),
        udp_stream=check("conntrack.udpStreamTimeout", values.period, written.udp_stream_timeout, 0.0),
        be_liberal=written.tcp_be_liberal,
    )
