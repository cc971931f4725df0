"""What an API server is told at its start."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``service_ranges``: one CIDR, or two of different families, the first for Services that do not say.

    ``node_ports`` are the first and the last port; ``advertise`` is the address and port under which nodes reach this
    server, which the Endpoints of ``default/kubernetes`` tell.
    """

    data_directory: Path
    storage: Literal["memory", "sqlite"] = "sqlite"
    bind_address: str = "127.0.0.1"
    port: int = 6443
    service_ranges: tuple[IPNetwork, ...] = (ipaddress.ip_network("10.96.0.0/16"),)
    node_ports: tuple[int, int] = (30000, 32767)
    advertise_address: str = "127.0.0.1"
    names: tuple[str, ...] = field(default=())

    @property
    def kubernetes_address(self) -> str:
        """The ClusterIP of ``default/kubernetes``: the first of the range."""
        return str(self.service_ranges[0][1])
