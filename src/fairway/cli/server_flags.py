"""The flags of an API server, which `fairway apiserver` and `fairway up` share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from fairway.cli.durations import seconds
from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.apiserver.settings import Settings
    from fairway.apiserver.storage.etcd_address import EtcdAddress

_Natural = Annotated[int, Parameter(validator=Number(gte=0))]


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """What the user wrote, unchecked."""

    data_dir: Path = Path("/var/lib/fairway")
    """Where the database, the certificates and the administrator's kubeconfig (admin.conf) lie."""
    bind_address: str = "127.0.0.1"
    """The address the API listens on."""
    secure_port: int = 6443
    """The port the API listens on; 0 for any free one."""
    service_cluster_ip_range: str = "10.96.0.0/16"
    """The CIDR of the cluster IPs; two of different families, with a comma between them, for dual-stack Services.
    They become the ServiceCIDR "kubernetes"; more ServiceCIDRs can be added while the server runs."""
    service_node_port_range: str = "30000-32767"
    """The node ports, FIRST-LAST."""
    cluster_ip_allocation: Literal["random", "sequential"] = "random"
    """Which cluster IP a Service gets that asks for none: one from a random place on, or the first that is free."""
    cluster_ip_reuse_after: str = "0s"
    """How long a cluster IP rests after its Service has gone before another Service can have it: 90s, 10m."""
    enable_admission_plugins: str = ""
    """Admission plugins, with commas between them: DenyServiceExternalIPs refuses new spec.externalIPs."""
    event_ttl: str = "1h"
    """For how long an Event is kept after something was last added to it, such as 1h or 30m."""
    tls_name: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Another name or address that clients use for this server; may be given several times."""
    token_auth_file: Path | None = None
    """Static bearer tokens: lines of token,user,uid,"group1,group2". Read at the start."""
    audit_log_path: str = ""
    """Where to write a line of JSON for each write: a file, or - for standard output."""
    audit_log_maxsize: _Natural = 100
    """At how many megabytes the audit log moves to .1, .2 … (ten are kept); 0: never."""
    max_requests_inflight: _Natural = 400
    """How many requests may be answered at the same time, watches not counted; 0: no limit."""
    max_requests_per_client: _Natural = 200
    """How many of them may be of one user; 0: no limit."""
    client_qps: Annotated[float, Parameter(validator=Number(gte=0))] = 0
    """How many requests of one user are taken in a second; 0: no limit."""
    client_burst: _Natural = 0
    """How many of them may come at once."""

    def settings(
        self,
        *,
        advertise_address: str,
        storage: Literal["sqlite", "memory"] = "sqlite",
        etcd: EtcdAddress | None = None,
    ) -> Settings:
        """What an API server takes; raises `CommandError` naming the flag that is wrong."""
        from fairway.apiserver.access.limits import RequestLimits
        from fairway.apiserver.settings import Settings

        return Settings(
            data_directory=self.data_dir,
            storage=storage,
            etcd=etcd,
            bind_address=address(self.bind_address, "--bind-address"),
            port=_port(self.secure_port),
            service_ranges=self.service_cluster_ip_range,
            node_ports=self.service_node_port_range,
            cluster_ip_allocation=self.cluster_ip_allocation,
            cluster_ip_reuse_after=seconds(self.cluster_ip_reuse_after, "--cluster-ip-reuse-after", zero=True),
            admission_plugins=_plugins(self.enable_admission_plugins),
            advertise_address=advertise_address,
            names=tuple(self.tls_name),
            token_file=self.token_auth_file,
            audit_log=self.audit_log_path,
            audit_log_bytes=self.audit_log_maxsize * 1024 * 1024,
            limits=RequestLimits(
                inflight=self.max_requests_inflight,
                per_client=self.max_requests_per_client,
                rate=self.client_qps,
                burst=self.client_burst,
            ),
            event_ttl=seconds(self.event_ttl, "--event-ttl"),
        )


def address(text: str, option: str) -> str:
    """An IP address in its canonical form; raises `CommandError` naming the option."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CommandError(f"{option} {text!r} is not an IP address", EXIT_USAGE) from None


def _port(number: int) -> int:
    if not 0 <= number <= 65535:
        raise CommandError(f"--secure-port {number} is not a port: expected 0 to 65535", EXIT_USAGE)
    return number


def _plugins(text: str) -> tuple[str, ...]:
    from fairway.apiserver.admission import ALWAYS_ON, PLUGINS

    given = tuple(filter(None, (one.strip() for one in text.split(","))))
    for name in given:
        if name not in PLUGINS and name not in ALWAYS_ON:
            known = ", ".join((*PLUGINS, *ALWAYS_ON))
            raise CommandError(f"--enable-admission-plugins: there is no {name!r}; there are {known}", EXIT_USAGE)
    return tuple(name for name in given if name in PLUGINS)
