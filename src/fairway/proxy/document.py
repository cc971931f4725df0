"""The file of ``--config``: kube-proxy's ``KubeProxyConfiguration`` (v1alpha1), read strictly and written whole.

file ──read_document──▶ KubeProxyConfiguration ──configure──▶ Configuration
flags ──document_of───▶          │
                                 └──write_document──▶ file (``--write-config-to``), ``/configz``

Every field of the reference is here with its default (section 2), so that a file which kube-proxy takes is a file that
Fairway takes; what a field does here, or that it does nothing, `fairway.proxy.configuration` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml

from fairway.objects.codec import DecodeError, read_yaml, view

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|μs|ns)", re.ASCII)
_UNKNOWN = re.compile(r"contains unknown field (?P<name>\S+)")
_ZERO_IS_DEFAULT = (
    "syncPeriod",
    "minSyncPeriod",
    "configSyncPeriod",
    "qps",
    "burst",
    "flushFrequency",
    "infoBufferSize",
)


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class ClientConnection(_Part, frozen=True, kw_only=True):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = "application/vnd.kubernetes.protobuf"
    qps: float = 5
    burst: int = 10


class Iptables(_Part, frozen=True, kw_only=True):
    """``flat`` and ``variant`` are Fairway's own: kube-proxy would not read a file that has them."""

    flat: bool = False
    variant: str = ""
    masquerade_bit: int = 14
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class Ipvs(_Part, frozen=True, kw_only=True):
    sync_period: str = "30s"
    min_sync_period: str = "0s"
    scheduler: str = ""
    exclude_cidrs: tuple[str, ...] = msgspec.field(default=(), name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: str = "0s"
    tcp_fin_timeout: str = "0s"
    udp_timeout: str = "0s"


class Nftables(_Part, frozen=True, kw_only=True):
    """``own_tables`` is Fairway's own."""

    own_tables: bool = True
    masquerade_bit: int = 14
    masquerade_all: bool = False
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class Winkernel(_Part, frozen=True, kw_only=True):
    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(default=False, name="enableDSR")
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = msgspec.field(default=False, name="forwardHealthCheckVip")


class DetectLocal(_Part, frozen=True, kw_only=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class ConntrackDocument(_Part, frozen=True, kw_only=True):
    max_per_core: int = 32768
    min: int = 131072
    tcp_established_timeout: str = "24h0m0s"
    tcp_close_wait_timeout: str = "1h0m0s"
    tcp_be_liberal: bool = False
    udp_timeout: str = "0s"
    udp_stream_timeout: str = "0s"


class Module(_Part, frozen=True, kw_only=True):
    """Of the program: what is logged there up to that verbosity is written."""

    file_pattern: str
    verbosity: int


class Stream(_Part, frozen=True, kw_only=True):
    info_buffer_size: str | int = "0"
    split_stream: bool = False


class LogOptions(_Part, frozen=True, kw_only=True):
    json: Stream = Stream()
    text: Stream = Stream()


class Logging(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of all components; ``flush_frequency`` is a duration, or nanoseconds as a number."""

    format: str = "text"
    flush_frequency: str | int = "5s"
    verbosity: int = 0
    vmodule: tuple[Module, ...] = ()
    options: LogOptions = LogOptions()


class KubeProxyConfiguration(_Part, frozen=True, kw_only=True):
    """All durations are in Go's form, ``1m30s``."""

    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] = {}
    client_connection: ClientConnection = ClientConnection()
    logging: Logging = Logging()
    hostname_override: str = ""
    bind_address: str = "0.0.0.0"
    healthz_bind_address: str = "0.0.0.0:10256"
    metrics_bind_address: str = "127.0.0.1:10249"
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = "nftables"
    iptables: Iptables = Iptables()
    ipvs: Ipvs = Ipvs()
    nftables: Nftables = Nftables()
    winkernel: Winkernel = Winkernel()
    detect_local_mode: str = "ClusterCIDR"
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: tuple[str, ...] = ("primary",)
    oom_score_adj: int = -999
    conntrack: ConntrackDocument = ConntrackDocument()
    config_sync_period: str = "15m0s"
    port_range: str = ""
    windows_run_as_service: bool = False


DEFAULTS = KubeProxyConfiguration()


def read_document(data: bytes) -> KubeProxyConfiguration:
    """The one document of a file, YAML or JSON; raises `DecodeError` with the path of the field."""
    documents = read_yaml(data, once=True)
    if len(documents) != 1:
        raise DecodeError(f"expected one document, found {len(documents)}")
    written = documents[0]
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if written.get(field) != wanted:
            raise DecodeError(f"must be {wanted}, not {written.get(field)!r}", field)
    return _view(_said(written))


def document_at(values: Mapping[str, Any]) -> KubeProxyConfiguration:
    """The defaults with some fields, named by their paths, set to something else."""
    written: dict[str, Any] = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        at = written
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return _view(written)


def write_document(document: KubeProxyConfiguration) -> str:
    """The whole of it as YAML, defaults included."""
    return yaml.safe_dump(msgspec.to_builtins(document), sort_keys=False)


def changed_fields(document: KubeProxyConfiguration, *, all_of_them: bool = False) -> Iterator[tuple[str, Any]]:
    """Path and value of every field that is not at its default, or of all."""
    for path, value, default in _fields(msgspec.to_builtins(document), msgspec.to_builtins(DEFAULTS), ""):
        if all_of_them or value != default:
            yield path, value


def duration(text: str | int) -> float:
    """Seconds of a duration in Go's form; raises `ValueError`."""
    if isinstance(text, int):
        return text * 1e-9
    negative, digits = text.startswith("-"), text.lstrip("+-")
    if digits == "0":
        return 0.0
    seconds, position = 0.0, 0
    while found := _PART.match(digits, position):
        seconds += float(found[1]) * _UNITS[found[2]]
        position = found.end()
    if not digits or position != len(digits) or len(text) - len(digits) > 1:
        raise ValueError(f'"{text}" is no duration, such as 1m30s or 500ms')
    return -seconds if negative else seconds


def _said(written: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Without what says nothing: kubeadm writes null, an empty text and a period of zero for "the default"."""
    found = {}
    for name, value in written.items():
        said = _said(value) if isinstance(value, dict) and name != "featureGates" else value
        if said is None or said in ("", [], {}) or (name in _ZERO_IS_DEFAULT and said in ("0s", "0", 0)):
            continue
        found[name] = said
    return found


def _view(written: dict[str, Any]) -> KubeProxyConfiguration:
    try:
        return view(written, KubeProxyConfiguration)
    except DecodeError as error:
        if found := _UNKNOWN.search(error.problem):
            path = f"{error.path}.{found['name']}" if error.path else found["name"]
            raise DecodeError(f"there is no such field in {KIND} {API_VERSION}", path) from None
        raise


def _fields(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    for name, value in one.items():
        default = other.get(name)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            yield from _fields(value, default, f"{path}{name}.")
        else:
            yield f"{path}{name}", value, default
