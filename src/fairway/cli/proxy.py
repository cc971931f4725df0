"""``fairway proxy``: the process on each node that makes its kernel deliver Services."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError
from fairway.proxy.configuration import Configuration, ConfigurationError, Flags, configure

_DEFAULTS = Flags()


def proxy(
    *,
    flags: Annotated[Flags, Parameter(name="*")] = _DEFAULTS,
    kubeconfig: Path | None = None,
    mode: str = "",
    cleanup: bool = False,
    ready_fd: int | None = None,
    verbosity: Annotated[int, Parameter(name=("-v", "--v"))] = 0,
) -> int:
    """Make this node's kernel deliver Services, in kube-proxy's place and with its flags.

    It follows the API server and changes what changed. When it ends the rules stay, and the next one adopts them, so
    that no connection notices; --cleanup removes them.

    Example: fairway proxy --kubeconfig node.conf --cluster-cidr 10.244.0.0/16

    Parameters
    ----------
    kubeconfig
        How to reach the API server. Without it: a pod's service account, else $KUBECONFIG, else ~/.kube/config.
    mode
        Another name of --proxy-mode.
    cleanup
        Remove the rules that Fairway made on this node, nobody else's, and end.
    ready_fd
        A file descriptor to write one line to when the kernel has everything for the first time.
    verbosity
        How much to say: 0 what an operator should know, 2 every round, 4 everything.
    """
    import asyncio
    import os

    from fairway.client.kubeconfig import find_connection
    from fairway.proxy.machine import Unsuitable, open_machine
    from fairway.proxy.main import configure_logging, serve

    configuration = checked(replace(flags, proxy_mode=mode) if mode else flags)
    configure_logging(verbosity)
    try:
        if cleanup:
            with open_machine() as machine:
                removed = machine.clean()
            print(f"removed Fairway's {removed} nftables tables" if removed else "there was nothing of Fairway's here")
        else:
            asyncio.run(serve(configuration, find_connection(kubeconfig, os.environ), ready_fd=ready_fd))
    except Unsuitable as error:
        raise CommandError(str(error)) from None
    return 0


def checked(flags: Flags) -> Configuration:
    """The flags, or what is wrong with them."""
    import socket

    try:
        return configure(flags, socket.gethostname())
    except ConfigurationError as error:
        raise CommandError("\n".join(error.problems), EXIT_USAGE) from None
