"""What an API server is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fairway.apiserver.access.limits import RequestLimits
from fairway.apiserver.storage.etcd_address import EtcdAddress


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``service_ranges`` is one CIDR, or two of different families with a comma between them, the first for Services
    that do not say; ``node_ports`` is ``FIRST-LAST``.

    ``cluster_ip_allocation`` is how an address is chosen that nobody asked for; ``cluster_ip_reuse_after`` how many
    seconds one rests before it is given to another Service.

    ``admission_plugins`` are names of `fairway.apiserver.admission.PLUGINS`.

    ``etcd`` is where the storage is if it is neither a file nor the memory: then ``storage`` says nothing.

    ``token_file`` has static bearer tokens; ``audit_log`` is a path or ``-``, empty for none, and moves out of the way
    when it has ``audit_log_bytes`` (0: never).

    ``advertise_address`` is where nodes reach this server, which the endpoints of ``default/kubernetes`` tell;
    ``names`` are what else its certificate is to be valid for. ``event_ttl`` is for how many seconds an Event is kept
    after something was last added to it.
    """

    data_directory: Path
    storage: Literal["memory", "sqlite"] = "sqlite"
    etcd: EtcdAddress | None = None
    bind_address: str = "127.0.0.1"
    port: int = 6443
    service_ranges: str = "10.96.0.0/16"
    node_ports: str = "30000-32767"
    cluster_ip_allocation: Literal["random", "sequential"] = "random"
    cluster_ip_reuse_after: float = 0.0
    admission_plugins: tuple[str, ...] = ()
    advertise_address: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token_file: Path | None = None
    audit_log: str = ""
    audit_log_bytes: int = 100 * 1024 * 1024
    limits: RequestLimits = field(default_factory=RequestLimits)
    event_ttl: float = 3600.0
