"""``fairway up``: Services for this very machine, in one process."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairway.cli.output import CommandError, Output, print_json
from fairway.cli.proxy import checked
from fairway.cli.server_flags import ServerFlags, address
from fairway.proxy.flags import Flags

if TYPE_CHECKING:
    from fairway.apiserver.settings import Settings
    from fairway.cli.standalone import Standing

_DEFAULTS = ServerFlags()
_EVERY_ADDRESS = "0.0.0.0/0,::/0"


def up(
    *,
    server: Annotated[ServerFlags, Parameter(name="*")] = _DEFAULTS,
    mode: Annotated[str, Parameter(name="--mode")] = "nftables",
    cluster_cidr: str = "",
    nodeport_addresses: str = _EVERY_ADDRESS,
    localhost_nodeports: bool = False,
    answer_ping: Annotated[bool, Parameter(negative="--no-answer-ping")] = True,
    hostname_override: str = "",
    healthz_bind_address: str = "127.0.0.1:10256",
    metrics_bind_address: str = "127.0.0.1:10249",
    add_route: bool = False,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Give Services to this machine: API server, controllers and proxy in one process, until Ctrl-C.

    kubectl then works as with any cluster. A Service without a selector and an EndpointSlice that names any reachable
    addresses make a stable address on this machine, balanced over them. When it ends the rules stay and Services keep
    answering; the next start goes on with the same state. `fairway proxy --cleanup` removes the rules.

    Example: fairway up

    Parameters
    ----------
    mode
        How the kernel is made to do it.
    cluster_cidr
        Networks of pods or containers on this machine, whose packets keep their source address.
    nodeport_addresses
        Which addresses take node ports: networks, or "primary" for the Node's own. Loopback does only with the next.
    localhost_nodeports
        Node ports answer this machine's own processes at 127.0.0.1, too; sets net.ipv4.conf.all.route_localnet.
    answer_ping
        Answer pings of the cluster IPs and load-balancer IPs of Services; --no-answer-ping refuses them.
    hostname_override
        This machine's name as a Node; its host name by default.
    healthz_bind_address
        Where /healthz and /livez answer; empty: nowhere.
    metrics_bind_address
        Where /metrics, /proxyMode and /status answer; empty: nowhere.
    add_route
        Add a route to the cluster IPs when none leads there, which processes of this machine need to connect.
    output
        How to say where things are: text, or one JSON object.
    """
    flags = Flags(
        proxy_mode=mode,
        hostname_override=hostname_override,
        cluster_cidr=cluster_cidr,
        service_cluster_ip_range=server.service_cluster_ip_range,
        nodeport_addresses=nodeport_addresses,
        localhost_nodeports=localhost_nodeports,
        answer_ping=answer_ping,
        # Whoever connects to a cluster IP from this machine chose the source address for the way to the cluster IP,
        # which may not be one that the backend can answer.
        masquerade_all=True,
        state_file="",
        healthz_bind_address=healthz_bind_address,
        metrics_bind_address=metrics_bind_address,
    )
    settings = server.settings(advertise_address=_reachable(server.bind_address))
    return _run(settings, flags, add_route=add_route, output=output)


def _run(settings: Settings, flags: Flags, *, add_route: bool, output: Output) -> int:
    from fairway.apiserver.certificates import CertificateError
    from fairway.apiserver.server import ServerError
    from fairway.apiserver.storage.contract import StorageError
    from fairway.cli.standalone import CannotStand, stand
    from fairway.kernel.contract import Unsuitable
    from fairway.proxy.logs import configure_logging

    configuration = checked(flags)
    configure_logging(0)

    def tell(standing: Standing) -> None:
        if output == "json":
            print_json(standing.as_json())
        else:
            print(standing.as_text(), flush=True)

    try:
        asyncio.run(stand(settings, configuration, add_route=add_route, on_ready=tell))
    except (CannotStand, Unsuitable, ServerError, StorageError, CertificateError) as error:
        raise CommandError(str(error)) from None
    if output == "text":
        print("Stopped. The rules stay and Services keep answering; `fairway proxy --cleanup` removes them.")
    return 0


def _reachable(bind_address: str) -> str:
    """Where the endpoints of default/kubernetes lead for a server that listens there."""
    found = ip_address(address(bind_address, "--bind-address"))
    loopback = "127.0.0.1" if found.version == 4 else "::1"
    return loopback if found.is_unspecified else str(found)
