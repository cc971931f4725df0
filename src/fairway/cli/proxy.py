"""``fairway proxy``: the process on each node that makes its kernel deliver Services."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError
from fairway.proxy.configuration import Configuration, ConfigurationError, configure
from fairway.proxy.document import KubeProxyConfiguration
from fairway.proxy.flags import METRICS_PORT, Flags
from fairway.proxy.values import Bind

if TYPE_CHECKING:
    from fairway.client.kubeconfig import Connection

_DEFAULTS = Flags()


def proxy(
    *,
    flags: Annotated[Flags, Parameter(name="*")] = _DEFAULTS,
    kubeconfig: Path | None = None,
    master: str = "",
    config: Path | None = None,
    write_config_to: Path | None = None,
    mode: str = "",
    cleanup: bool = False,
    init_only: bool = False,
    ready_fd: int | None = None,
    receipts_fd: int | None = None,
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
    master
        The API server's address, instead of the one that the kubeconfig has; of several, with commas between them, the
        next one is used when one does not answer.
    config
        A KubeProxyConfiguration file (kubeproxy.config.k8s.io/v1alpha1). It counts instead of the flags that it has
        a field for, but for --hostname-override, --kubeconfig and those about the log. When it changes, the process
        ends with code 1.
    write_config_to
        Write a file that says the same as the flags, and end.
    mode
        Another name of --proxy-mode.
    cleanup
        Remove what proxies have left on this node, Fairway or kube-proxy, in whatever mode, and end: as
        `fairway cleanup`, which also tells what it would be.
    init_only
        Check that this machine can do it, set what needs more than CAP_NET_ADMIN, and end.
    ready_fd
        A file descriptor to write one line to when the kernel has everything for the first time.
    receipts_fd
        A pipe or socket to write one line of JSON to for each round that the kernel has acknowledged.
    verbosity
        How much to say: 0 what an operator should know, 2 every round, 4 everything.
    """
    from fairway.proxy.logs import configure_logging

    file = read_file(config) if config else None
    configuration = checked(replace(flags, proxy_mode=mode) if mode else flags, file)
    if write_config_to is not None:
        _write(write_config_to, configuration.document)
        return 0
    configure_logging(verbosity, configuration.logging)
    if cleanup:
        return _clean_up(configuration)
    if init_only:
        _prepare(configuration)
    else:
        written = configuration.document.client_connection.kubeconfig
        connection = _connection(kubeconfig or (Path(written) if written else None), master)
        _serve(configuration, connection, config, ready_fd, receipts_fd)
    return 0


def _clean_up(configuration: Configuration) -> int:
    """What `fairway cleanup` does, once no proxy of ours is here any more."""
    from fairway.cli.cleanup import cleanup
    from fairway.proxy.claim import Claim, Taken

    try:
        Claim().close()
    except Taken as taken:
        raise CommandError(f"{taken}; stop it first") from None
    return cleanup(metrics_address=str(configuration.metrics or Bind("127.0.0.1", METRICS_PORT)))


def _prepare(configuration: Configuration) -> None:
    """Of --init-only."""
    from fairway.kernel.contract import Unsuitable
    from fairway.proxy.machine import open_machine
    from fairway.proxy.main import set_up

    try:
        with open_machine(configuration):
            set_up(configuration)
        print("this machine can do it, and is set up")
    except Unsuitable as error:
        raise CommandError(str(error)) from None


def _serve(
    configuration: Configuration,
    connection: Connection,
    config: Path | None,
    ready_fd: int | None,
    receipts_fd: int | None,
) -> None:
    import asyncio

    import uvloop

    from fairway.kernel.contract import Unsuitable
    from fairway.proxy.main import FileChanged, serve
    from fairway.proxy.web import CannotListen

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(configuration, connection, ready_fd=ready_fd, receipts_fd=receipts_fd, file=config))
    except (Unsuitable, FileChanged, CannotListen) as error:
        raise CommandError(str(error)) from None


def _connection(kubeconfig: Path | None, master: str) -> Connection:
    """As the kubeconfig says, but for the servers that --master names; that alone will do where there is no file."""
    import os

    from fairway.client.kubeconfig import Connection, KubeconfigError, check_server, find_connection

    servers = [one.strip() for one in master.split(",") if one.strip()]
    try:
        for one in servers:
            check_server(one)
    except ValueError as error:
        raise CommandError(f"--master: {error}", EXIT_USAGE) from None
    try:
        found = find_connection(kubeconfig, os.environ)
    except KubeconfigError:
        if not servers or kubeconfig is not None:
            raise
        found = Connection(server=servers[0], source="--master")
    return replace(found, server=servers[0], others=tuple(servers[1:])) if servers else found


def checked(flags: Flags, file: KubeProxyConfiguration | None = None) -> Configuration:
    """The flags, or the file, or what is wrong with them."""
    import socket

    try:
        return configure(flags, socket.gethostname(), file)
    except ConfigurationError as error:
        raise CommandError("\n".join(error.problems), EXIT_USAGE) from None


def read_file(path: Path) -> KubeProxyConfiguration:
    """The file of --config, or what is wrong with it."""
    from fairway.objects.codec import DecodeError
    from fairway.proxy.document import read_document

    try:
        return read_document(path.read_bytes())
    except OSError as error:
        raise CommandError(f"--config: {path}: {(error.strerror or str(error)).lower()}", EXIT_USAGE) from None
    except DecodeError as error:
        raise CommandError(f"--config: {path}: {error}", EXIT_USAGE) from None


def _write(path: Path, document: KubeProxyConfiguration) -> None:
    from fairway.proxy.document import write_document

    try:
        path.write_text(write_document(document))
    except OSError as error:
        raise CommandError(f"--write-config-to: {path}: {(error.strerror or str(error)).lower()}") from None
    print(f"written: {path}")
