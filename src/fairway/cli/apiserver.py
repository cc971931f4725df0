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

from fairway.apiserver.storage.etcd_address import DEFAULT_PREFIX, EtcdAddress, endpoints_of
from fairway.cli.output import EXIT_USAGE, CommandError
from fairway.cli.server_flags import ServerFlags, address

if TYPE_CHECKING:
    from fairway.apiserver.settings import Settings


_DEFAULTS = ServerFlags()


def apiserver(
    *,
    flags: Annotated[ServerFlags, Parameter(name="*")] = _DEFAULTS,
    advertise_address: str = "",
    storage: Literal["sqlite", "memory"] = "sqlite",
    etcd_servers: str = "",
    etcd_prefix: str = DEFAULT_PREFIX,
    etcd_cafile: Path | None = None,
    etcd_certfile: Path | None = None,
    etcd_keyfile: Path | None = None,
    listen_fd: Annotated[tuple[int, ...], Parameter(negative="")] = (),
    ready_fd: int | None = None,
) -> None:
    """Serve the Kubernetes API for Services, until SIGTERM or SIGINT.

    Parameters
    ----------
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
    listen_fd
        An inherited listening socket to use instead of binding one; may be given several times.
    ready_fd
        An inherited file descriptor that gets the line "ready" when requests are answered, and is closed.
    """
    if etcd_servers and storage == "memory":
        raise CommandError("--storage memory and --etcd-servers exclude each other", EXIT_USAGE)
    etcd = etcd_address(
        etcd_servers, prefix=etcd_prefix, authority=etcd_cafile, certificate=etcd_certfile, key=etcd_keyfile
    )
    advertised = _advertised(advertise_address, flags.bind_address)
    settings = flags.settings(advertise_address=advertised, storage=storage, etcd=etcd)
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
    from fairway.runtime.garbage import settle

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ApiServer(settings, sockets) as server:
        settle()
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


def _advertised(text: str, bind_address: str) -> str:
    """The address given, or else the one that is listened on; raises `CommandError` for one that leads nowhere."""
    found = address(text, "--advertise-address") if text else address(bind_address, "--bind-address")
    if text and ipaddress.ip_address(found).is_unspecified:
        raise CommandError(f"--advertise-address {text} is no address that a node can reach", EXIT_USAGE)
    return found if not ipaddress.ip_address(found).is_unspecified else "127.0.0.1"
