"""``fairway controllers``: EndpointSlices, Deployments and scheduling, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from cyclopts import Parameter
from cyclopts.validators import Number

from fairway.cli.durations import seconds
from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.client.kubeconfig import Connection
    from fairway.controllers.election import Election
    from fairway.controllers.runner import Options


def controllers(
    *,
    kubeconfig: Path | None = None,
    leader_elect: bool = True,
    leader_elect_lease_duration: str = "15s",
    leader_elect_renew_deadline: str = "10s",
    leader_elect_retry_period: str = "2s",
    leader_elect_resource_name: str = "fairway-controllers",
    leader_elect_resource_namespace: str = "kube-system",
    node_monitor_grace_period: str = "40s",
    root_ca_file: Path | None = None,
    max_endpoints_per_slice: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 100,
    ready_fd: int | None = None,
    verbose: bool = False,
) -> None:
    """Keep a cluster's objects true, until SIGTERM or SIGINT: EndpointSlices follow Services and Pods, Pods follow
    ReplicaSets and Deployments, pending Pods get a node, Nodes that fall silent count as unknown.

    Several may run: one of them works, the others stand by and take its place when it stops renewing its Lease.
    Durations are written as 15s, 1m30s or 500ms.

    Example: fairway controllers --kubeconfig /var/lib/fairway/admin.conf

    Parameters
    ----------
    kubeconfig
        How to reach the API server. Without it: a pod's service account, else $KUBECONFIG, else ~/.kube/config.
    leader_elect
        Work only while holding the Lease.
    leader_elect_lease_duration
        For how long a leader may be silent before another takes its place, in whole seconds.
    leader_elect_renew_deadline
        For how long a leader goes on without having been able to renew.
    leader_elect_retry_period
        How long to wait between two attempts to take or renew the Lease.
    leader_elect_resource_name
        The name of the Lease.
    leader_elect_resource_namespace
        The namespace of the Lease.
    node_monitor_grace_period
        For how long a Node may not renew its Lease before its pods count as not ready; at least 1s.
    root_ca_file
        What the ConfigMap kube-root-ca.crt of every namespace tells to trust the API server by, in PEM; the
        kubeconfig's authority by default.
    max_endpoints_per_slice
        How many endpoints an EndpointSlice may hold.
    ready_fd
        An inherited file descriptor that gets the line "ready" when all objects have been read, and is closed.
    verbose
        Say more.
    """
    import logging

    import uvloop

    from fairway.client.kubeconfig import find_connection
    from fairway.controllers.runner import Options

    election = None
    if leader_elect:
        election = _election(
            leader_elect_resource_name,
            leader_elect_resource_namespace,
            lease_duration=leader_elect_lease_duration,
            renew_deadline=leader_elect_renew_deadline,
            retry_period=leader_elect_retry_period,
        )
    grace = seconds(node_monitor_grace_period, "--node-monitor-grace-period")
    if grace < 1:
        raise CommandError(
            f"--node-monitor-grace-period {node_monitor_grace_period} is too short: expected 1s or more", EXIT_USAGE
        )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname).1s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    connection = find_connection(kubeconfig, os.environ)
    root_ca = _authority(root_ca_file) if root_ca_file else connection.certificate_authority.decode("ascii", "replace")
    options = Options(
        node_grace=grace, election=election, root_ca=root_ca, max_endpoints_per_slice=max_endpoints_per_slice
    )
    descriptor = None if ready_fd is None else _inherited(ready_fd)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(connection, descriptor, options))


async def _serve(connection: Connection, descriptor: BinaryIO | None, options: Options) -> None:
    from fairway.client.http import Client
    from fairway.client.network import open_transport
    from fairway.controllers.runner import run_controllers

    def ready() -> None:
        print(f"fairway controllers: ready, following {connection.server}", flush=True)
        if descriptor is not None and not descriptor.closed:
            # Whoever waited may have gone by now, which is no reason to stop.
            with contextlib.suppress(BrokenPipeError), descriptor:
                descriptor.write(b"ready\n")

    async with Client(open_transport(connection), user_agent="fairway-controllers") as client:
        running = asyncio.create_task(run_controllers(client, on_ready=ready, options=options))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            print("fairway controllers: stopped", flush=True)


def _election(name: str, namespace: str, *, lease_duration: str, renew_deadline: str, retry_period: str) -> Election:
    import socket
    import uuid

    from fairway.controllers.election import Election, ElectionError

    lease = seconds(lease_duration, "--leader-elect-lease-duration")
    if lease != int(lease):
        raise CommandError(f"--leader-elect-lease-duration {lease_duration} is not in whole seconds", EXIT_USAGE)
    try:
        return Election(
            # As Kubernetes' components do: a name for people, and something that no other process has.
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            name=name,
            namespace=namespace,
            lease=int(lease),
            renew_deadline=seconds(renew_deadline, "--leader-elect-renew-deadline"),
            retry=seconds(retry_period, "--leader-elect-retry-period"),
        )
    except ElectionError as error:
        raise CommandError(f"--leader-elect: {error}", EXIT_USAGE) from None


def _authority(file: Path) -> str:
    try:
        text = file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(f"--root-ca-file {file}: {problem}", EXIT_USAGE) from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise CommandError(f"--root-ca-file {file}: no certificate in it; expected PEM", EXIT_USAGE)
    return text


def _inherited(number: int) -> BinaryIO:
    try:
        return os.fdopen(number, "wb", buffering=0)
    except OSError as error:
        raise CommandError(f"--ready-fd {number}: {(error.strerror or str(error)).lower()}", EXIT_USAGE) from None
