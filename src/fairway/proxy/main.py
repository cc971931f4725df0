"""The proxy as a process: logging, signals, and one line for each thing that happens to it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from fairway.client.http import Client
from fairway.client.kubeconfig import Connection
from fairway.client.network import open_transport
from fairway.kernel.links import sysctl
from fairway.proxy.agent import Agent
from fairway.proxy.choice import beside
from fairway.proxy.configuration import Configuration
from fairway.proxy.laststate import DIRECTORY, LastState, cluster_of
from fairway.proxy.lines import RoundLines
from fairway.proxy.machine import open_machine, rivals
from fairway.proxy.tuning import open_localhost, prepare
from fairway.runtime import garbage
from fairway.runtime.clock import Clock, SystemClock

log = logging.getLogger("fairway.proxy")

LOOK_SECONDS = 5.0
"""How often the configuration's file is looked at."""
_Work = Callable[[], Coroutine[Any, Any, None]]


class FileChanged(Exception):
    """The configuration's file is another one than this process has read."""


async def serve(
    configuration: Configuration,
    connection: Connection,
    *,
    ready_fd: int | None,
    receipts_fd: int | None = None,
    file: Path | None = None,
) -> None:
    """Follow the API server until SIGTERM or SIGINT, or until ``file`` is another one; the rules stay.

    Raises `fairway.kernel.contract.Unsuitable` when this machine cannot do it, `FileChanged`, and
    `fairway.proxy.web.CannotListen`.
    """
    started = time.monotonic()
    gc.disable()  # a whole cluster is about to be loaded, and none of it is garbage
    state = state_file(configuration)
    with open_machine(configuration, beside(state) if state else None) as machine:
        set_up(configuration)
        agent, ready = machine.agent(), asyncio.Event()
        words = ready_line(agent, started)
        if receipts_fd is not None:
            agent.sync.tell(RoundLines(receipts_fd))
        log.info("node %s, mode %s, API server %s", configuration.node_name, agent.switching.here, connection.server)

        if sysctl("net.ipv4.ip_forward") != "1":
            log.warning("net.ipv4.ip_forward is off: only this node's own processes reach backends elsewhere")

        def on_ready() -> None:
            garbage.keep()
            ready.set()
            give_back()
            switching = agent.switching
            others = rivals(switching.here.mode, switching.leaving)
            for sentence in (*switching.notes(), *others, *open_localhost(configuration)):
                log.warning("%s", sentence)
            log.info("%s", words())
            tell_of_tables(agent)
            if ready_fd is not None:
                tell(ready_fd)

        transport = open_transport(connection, agent.metrics.requests)
        async with Client(transport, user_agent="fairway-proxy") as client:
            last = LastState(state, cluster_of(connection, configuration.node_name)) if state else None
            tidying = partial(garbage.look_after, ready, lambda: agent.sync.receipts.total, SystemClock())
            await until_signalled(_beside(lambda: agent.run(client, on_ready, last), tidying, file))
    log.info("stopped; the rules stay, so Services keep answering (--cleanup removes them)")


def state_file(configuration: Configuration) -> Path | None:
    where = configuration.state_file
    return DIRECTORY / f"{configuration.node_name}.json" if where == "default" else (Path(where) if where else None)


def tell_of_tables(agent: Agent) -> None:
    """Say when others can change what is ours, which is then only put back."""
    owned = agent.switching.opened.ownership
    if owned is not None and not (found := owned()).owned:
        log.info("others can change our nftables tables: %s; changes are noticed and repaired", found.why)


def set_up(configuration: Configuration) -> None:
    """Say what has no effect, and set the machine to what the configuration says, as far as it lets us."""
    for sentence in (*configuration.notes, *prepare(configuration)):
        log.warning("%s", sentence)


async def _beside(work: _Work, tidying: _Work, file: Path | None) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        group.create_task(tidying())
        if file is not None:
            group.create_task(until_changed(file, SystemClock()))


async def until_changed(file: Path, clock: Clock) -> None:
    """Raises `FileChanged` when it says something else than now; looked at by its contents, since a ConfigMap's file
    is a link that comes to lead elsewhere."""
    known = _contents(file)
    while True:
        await clock.sleep(LOOK_SECONDS)
        # Half a second may lie between the removal of the old file and the new one.
        if (now := _contents(file)) is not None and now != known:
            raise FileChanged(f"{file} has changed: this process ends, and the next one reads it")


def _contents(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


async def until_signalled(work: Any) -> None:
    """Run it until it ends, or until somebody asks this process to stop."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    except BaseExceptionGroup as group:
        # A task group's own words, "1 sub-exception", tell nobody what happened.
        raise _first(group) from group
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def ready_line(agent: Agent, started: float) -> Callable[[], str]:
    """What to say when the kernel has everything for the first time."""

    def line() -> str:
        first = agent.sync.rounds[-1]
        state = f"{first.commands} changes to what it held" if first.commands else "it held all of it already"
        return (
            f"ready in {time.monotonic() - started:.2f} s: {agent.cache.services} Services, "
            f"{len(agent.cache.frontends)} frontends are in the kernel ({state})"
        )

    return line


def give_back() -> None:
    """Let the system have the memory again that only the first load needed; musl does so by itself."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def tell(descriptor: int) -> None:
    """Write the line that whoever started us waits for, and let go of the descriptor."""
    try:
        os.write(descriptor, b"ready\n")
        os.close(descriptor)
    except OSError as error:
        log.warning("--ready-fd %d: %s", descriptor, error.strerror)
