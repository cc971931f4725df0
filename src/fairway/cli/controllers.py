"""``fairway controllers``: EndpointSlices, Deployments and scheduling, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fairway.cli.output import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from fairway.client.kubeconfig import Connection


def controllers(*, kubeconfig: Path | None = None, ready_fd: int | None = None, verbose: bool = False) -> None:
    """Keep a cluster's objects true, until SIGTERM or SIGINT: EndpointSlices follow Services and Pods, Pods follow
    ReplicaSets and Deployments, pending Pods get a node.

    Run one at a time. Two do no harm to the objects, because every write is refused if somebody else was faster,
    but there is no leader election yet, so they do all work twice.

    Example: fairway controllers --kubeconfig /var/lib/fairway/admin.conf

    Parameters
    ----------
    kubeconfig
        How to reach the API server. Without it: a pod's service account, else $KUBECONFIG, else ~/.kube/config.
    ready_fd
        An inherited file descriptor that gets the line "ready" when all objects have been read, and is closed.
    verbose
        Say more.
    """
    import logging

    import uvloop

    from fairway.client.kubeconfig import find_connection

    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname).1s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    connection = find_connection(kubeconfig, os.environ)
    descriptor = None if ready_fd is None else _inherited(ready_fd)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(connection, descriptor))


async def _serve(connection: Connection, descriptor: BinaryIO | None) -> None:
    from fairway.client.http import Client
    from fairway.client.network import NetworkTransport
    from fairway.controllers.runner import run_controllers

    def ready() -> None:
        print(f"fairway controllers: ready, following {connection.server}", flush=True)
        if descriptor is not None:
            # Whoever waited may have gone by now, which is no reason to stop.
            with contextlib.suppress(BrokenPipeError), descriptor:
                descriptor.write(b"ready\n")

    async with Client(NetworkTransport(connection), user_agent="fairway-controllers") as client:
        running = asyncio.create_task(run_controllers(client, on_ready=ready))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            print("fairway controllers: stopped", flush=True)


def _inherited(number: int) -> BinaryIO:
    try:
        return os.fdopen(number, "wb", buffering=0)
    except OSError as error:
        raise CommandError(f"--ready-fd {number}: {(error.strerror or str(error)).lower()}", EXIT_USAGE) from None
