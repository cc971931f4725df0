"""``fairway bench api``: what the API server can do on this machine."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError, Output, print_json, tell

if TYPE_CHECKING:
    from fairway.bench.api import Report, Shape


_CONNECT_SECONDS = 5


def api(
    *,
    storage: Literal["sqlite", "memory", "etcd"] = "sqlite",
    etcd_servers: str = "",
    services: int = 10_000,
    watchers: int = 1_000,
    patches: int = 1_000,
    changes: int = 400,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Measure an API server that is started for it: creates, lists, patches, watches, memory.

    Example: fairway bench api --storage sqlite --services 2000 --watchers 200

    Parameters
    ----------
    storage
        Where the server keeps its objects: a database on the disk, its memory, or an etcd that runs already.
    etcd_servers
        The members of that etcd, as `fairway apiserver` takes them. The keys of the run stay in it, below a path of
        their own, /fairway-bench-…
    services
        How many Services, each with an EndpointSlice of ten endpoints.
    watchers
        How many clients watch the Services, each over its own connection.
    patches
        How many patches, one after the other.
    changes
        How many changes are told to every watcher.
    output
        text, or json.
    """
    from fairway.bench.api import Shape

    given = {"--services": services, "--watchers": watchers, "--patches": patches, "--changes": changes}
    for option, number in given.items():
        if number < 1:
            raise CommandError(f"{option} {number}: at least 1 is needed to measure anything", EXIT_USAGE)
    shape = Shape(services=services, watchers=watchers, patches=patches, changes=changes)
    report = _measure(storage, _server_flags(storage, etcd_servers), shape)
    if output == "json":
        print_json(report)
    else:
        _print(report)
    return 0


def _server_flags(storage: str, etcd_servers: str) -> tuple[str, ...]:
    """What the measured server is started with; raises `CommandError`."""
    if (storage == "etcd") is not bool(etcd_servers):
        raise CommandError("--storage etcd and --etcd-servers need each other", EXIT_USAGE)
    if storage != "etcd":
        return ("--storage", storage)
    _require_listener(etcd_servers)
    return ("--etcd-servers", etcd_servers, "--etcd-prefix", f"/fairway-bench-{secrets.token_hex(4)}")


def _require_listener(etcd_servers: str) -> None:
    """A server waits for its etcd, which may still be starting; who measures one has started it. Raises `CommandError`
    when nobody listens at any of its addresses.
    """
    import socket
    from urllib.parse import urlsplit

    from fairway.apiserver.storage.etcd_address import DEFAULT_PORT, endpoints_of, target_of

    problem = "no address is given"
    for endpoint in endpoints_of(etcd_servers):
        try:
            target_of(endpoint)
            url = urlsplit(endpoint)
            with socket.create_connection((url.hostname or "", url.port or DEFAULT_PORT), _CONNECT_SECONDS):
                return
        except ValueError as error:
            raise CommandError(str(error), EXIT_USAGE) from None
        except OSError as error:
            problem = f"{endpoint}: {error.strerror or error}"
    raise CommandError(f"no etcd to measure at {problem}; start it first")


def _measure(storage: str, flags: tuple[str, ...], shape: Shape) -> Report:
    import msgspec
    import uvloop

    from fairway.bench.api import ENDPOINTS_A_SLICE, measure
    from fairway.bench.api_connection import AnswerError
    from fairway.bench.api_server import ServerFailed
    from fairway.bench.machine import Machine

    _allow_connections(shape.watchers)
    asked = {"storage": storage, **msgspec.to_builtins(shape), "endpoints": shape.services * ENDPOINTS_A_SLICE}
    machine = Machine()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            found = runner.run(measure(shape, flags, tell))
        except (AnswerError, ServerFailed) as error:
            raise CommandError(str(error)) from None
    return {"machine": machine.told(), "shape": asked, **found}


def _allow_connections(watchers: int) -> None:
    """Each watcher is a file descriptor, here and in the server, which inherits the limit."""
    import resource

    needed = watchers + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CommandError(f"--watchers {watchers} needs {needed} open files; the limit (ulimit -Hn) is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _print(report: Report) -> None:
    for title, figures in report.items():
        print(f"{title.replace('_', ' ')}: {_line(figures)}")


def _line(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in figures.items())


def _number(value: Any) -> str:
    if value is None:
        return "too short to tell"
    return f"{value:,}" if isinstance(value, int) else str(value)
