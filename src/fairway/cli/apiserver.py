"""``fairway apiserver``: the Kubernetes API for Services, as a process."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from fairway.apiserver.storage.etcd_address import DEFAULT_PREFIX, EtcdAddress, endpoints_of
from fairway.cli.durations import seconds
from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.apiserver.settings import Settings


def apiserver(
    *,
    data_dir: Path = Path("/var/lib/fairway"),
    bind_address: str = "127.0.0.1",
    secure_port: int = 6443,
    service_cluster_ip_range: str = "10.96.0.0/16",
    service_node_port_range: str = "30000-32767",
    cluster_ip_allocation: Literal["random", "sequential"] = "random",
    cluster_ip_reuse_after: str = "0s",
    advertise_address: str = "",
    storage: Literal["sqlite", "memory"] = "sqlite",
    etcd_servers: str = "",
    etcd_prefix: str = DEFAULT_PREFIX,
    etcd_cafile: Path | None = None,
    etcd_certfile: Path | None = None,
    etcd_keyfile: Path | None = None,
    event_ttl: str = "1h",
    tls_name: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    listen_fd: Annotated[tuple[int, ...], Parameter(negative="")] = (),
    ready_fd: int | None = None,
    token_auth_file: Path | None = None,
    audit_log_path: str = "",
    audit_log_maxsize: Annotated[int, Parameter(validator=Number(gte=0))] = 100,
    max_requests_inflight: Annotated[int, Parameter(validator=Number(gte=0))] = 400,
    max_requests_per_client: Annotated[int, Parameter(validator=Number(gte=0))] = 200,
    client_qps: Annotated[float, Parameter(validator=Number(gte=0))] = 0,
    client_burst: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
) -> None:
    """Serve the Kubernetes API for Services, until SIGTERM or SIGINT.

    Parameters
    ----------
    data_dir
        Where the database, the certificates and the administrator's kubeconfig (admin.conf) lie.
    bind_address
        The address to listen on.
    secure_port
        The port to listen on; 0 for any free one.
    service_cluster_ip_range
        The CIDR of the cluster IPs; two of different families, with a comma between them, for dual-stack Services.
        They become the ServiceCIDR "kubernetes"; more ServiceCIDRs can be added while the server runs.
    service_node_port_range
        The node ports, FIRST-LAST.
    cluster_ip_allocation
        Which cluster IP a Service gets that asks for none: one from a random place on, or the first that is free.
    cluster_ip_reuse_after
        How long a cluster IP rests after its Service has gone before another Service can have it, such as 90s or 10m.
    advertise_address
        Where nodes reach this server: what the endpoints of default/kubernetes say. The bind address by
        default; while it is a loopback address, default/kubernetes has no endpoints.
    storage
        A database on the disk, or the memory of the process; see also --etcd-servers.
    etcd_servers
        The members of an etcd to keep everything in, as URLs with commas between them: for several machines, and
        for several API servers. It takes the place of --storage.
    etcd_prefix
        The path in etcd below which all keys lie.
    etcd_cafile
        What the members' certificates are checked against, in PEM; without it, the system's authorities.
    etcd_certfile
        The certificate to show to etcd, in PEM.
    etcd_keyfile
        The key of that certificate, in PEM.
    event_ttl
        For how long an Event is kept after something was last added to it, such as 1h or 30m.
    tls_name
        Another name or address that clients use for this server; may be given several times.
    listen_fd
        An inherited listening socket to use instead of binding one; may be given several times.
    ready_fd
        An inherited file descriptor that gets the line "ready" when requests are answered, and is closed.
    token_auth_file
        Static bearer tokens: lines of token,user,uid,"group1,group2". Read at the start.
    audit_log_path
        Where to write a line of JSON for each write: a file, or - for standard output.
    audit_log_maxsize
        At how many megabytes the audit log moves to .1, .2 … (ten are kept); 0: never.
    max_requests_inflight
        How many requests may be answered at the same time, watches not counted; 0: no limit.
    max_requests_per_client
        How many of them may be of one user; 0: no limit.
    client_qps
        How many requests of one user are taken in a second; 0: no limit.
    client_burst
        How many of them may come at once.
    """
    from fairway.apiserver.access.limits import RequestLimits
    from fairway.apiserver.settings import Settings

    if etcd_servers and storage == "memory":
        raise CommandError("--storage memory and --etcd-servers exclude each other", EXIT_USAGE)
    settings = Settings(
        data_directory=data_dir,
        storage=storage,
        etcd=etcd_address(
            etcd_servers, prefix=etcd_prefix, authority=etcd_cafile, certificate=etcd_certfile, key=etcd_keyfile
        ),
        bind_address=_address(bind_address, "--bind-address"),
        port=_port(secure_port, "--secure-port", lowest=0),
        service_ranges=service_cluster_ip_range,
        node_ports=service_node_port_range,
        cluster_ip_allocation=cluster_ip_allocation,
        cluster_ip_reuse_after=seconds(cluster_ip_reuse_after, "--cluster-ip-reuse-after", zero=True),
        advertise_address=_advertised(advertise_address, bind_address),
        names=tuple(tls_name),
        token_file=token_auth_file,
        audit_log=audit_log_path,
        audit_log_bytes=audit_log_maxsize * 1024 * 1024,
        limits=RequestLimits(
            inflight=max_requests_inflight,
            per_client=max_requests_per_client,
            rate=client_qps,
            burst=client_burst,
        ),
        event_ttl=seconds(event_ttl, "--event-ttl"),
    )
    _run(settings, [_inherited(descriptor) for descriptor in listen_fd], ready_fd)


def etcd_address(
    servers: str, *, prefix: str, authority: Path | None, certificate: Path | None, key: Path | None
) -> EtcdAddress | None:
    """What the ``--etcd-…`` flags say, None without servers; raises `CommandError`."""
    if not servers:
        if authority or certificate or key:
            raise CommandError("--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers", EXIT_USAGE)
        return None
    try:
        return EtcdAddress(
            endpoints=endpoints_of(servers), prefix=prefix, authority=authority, certificate=certificate, key=key
        )
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _run(settings: Settings, sockets: list[socket.socket], ready_fd: int | None) -> None:
    import uvloop

    from fairway.apiserver.certificates import CertificateError
    from fairway.apiserver.server import ServerError
    from fairway.apiserver.storage.contract import StorageError

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings, sockets, ready_fd))
        except (ServerError, StorageError, CertificateError) as error:
            raise CommandError(str(error)) from None


async def _serve(settings: Settings, sockets: list[socket.socket], ready_fd: int | None) -> None:
    from fairway.apiserver.server import ApiServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ApiServer(settings, sockets) as server:
        print(f"fairway apiserver: ready on {server.url}; kubeconfig {server.kubeconfig}", flush=True)
        if ready_fd is not None:
            _notify(ready_fd)
        await stop.wait()


def _notify(descriptor: int) -> None:
    try:
        with os.fdopen(descriptor, "wb") as ready:
            ready.write(b"ready\n")
    except OSError as error:
        raise CommandError(f"--ready-fd {descriptor}: {error.strerror}", EXIT_USAGE) from None


def _inherited(descriptor: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CommandError(f"--listen-fd {descriptor} is not a socket: {error.strerror}", EXIT_USAGE) from None
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        raise CommandError(f"--listen-fd {descriptor} is a socket that does not listen", EXIT_USAGE)
    listener.setblocking(False)
    return listener


def _address(text: str, option: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CommandError(f"{option} {text!r} is not an IP address", EXIT_USAGE) from None


def _advertised(text: str, bind_address: str) -> str:
    address = _address(text or bind_address, "--advertise-address")
    if text and ipaddress.ip_address(address).is_unspecified:
        raise CommandError(f"--advertise-address {text} is no address that a node can reach", EXIT_USAGE)
    return address if not ipaddress.ip_address(address).is_unspecified else "127.0.0.1"


def _port(number: int, option: str, *, lowest: int = 1) -> int:
    if not lowest <= number <= 65535:
        raise CommandError(f"{option} {number} is not a port: expected {lowest} to 65535", EXIT_USAGE)
    return number
