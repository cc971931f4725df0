"""API server, controllers and proxy in one process, for the machine they run on.

data directory: state.db, pki/, admin.conf, lock
ApiServer ◀── https ──┬── controllers, as system:fairway-controllers
                      └── proxy, as system:node:NAME ──▶ this machine's kernel
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from fairway import __version__
from fairway.apiserver.access.roles import CONTROLLERS, NODE_PREFIX
from fairway.apiserver.access.roles import NODES as NODES_GROUP
from fairway.apiserver.server import ApiServer
from fairway.apiserver.settings import Settings
from fairway.client.http import Client
from fairway.client.network import NetworkTransport, open_transport
from fairway.controllers.heartbeat import Heartbeat
from fairway.controllers.runner import Options, run_controllers
from fairway.kernel.links import LinkError, Links, sysctl
from fairway.objects.cluster import Node
from fairway.objects.resources import NODES
from fairway.objects.status import ApiError
from fairway.proxy.configuration import Configuration
from fairway.proxy.machine import open_machine, rivals
from fairway.proxy.main import until_signalled
from fairway.proxy.tuning import open_localhost
from fairway.runtime.clock import rfc3339
from fairway.runtime.garbage import settle

log = logging.getLogger("fairway.up")


class CannotStand(Exception):
    """Something of this machine is in the way; the message says what, and what helps."""


@dataclass(frozen=True)
class Standing:
    """Where everything is, once it works."""

    settings: Settings
    node: str
    addresses: tuple[str, ...]
    server: str
    kubeconfig: str
    seconds: float
    unrouted: tuple[str, ...]
    forwards: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "kubeconfig": self.kubeconfig,
            "node": self.node,
            "nodeAddresses": list(self.addresses),
            "serviceClusterIPRange": self.settings.service_ranges,
            "serviceNodePortRange": self.settings.node_ports,
            "dataDirectory": str(self.settings.data_directory),
            "rangesWithoutRoute": list(self.unrouted),
            "forwards": self.forwards,
        }

    def as_text(self) -> str:
        lines = [
            f"Services on this machine are ready ({self.seconds:.1f} s).",
            "",
            f"  API server   {self.server}",
            f"  kubeconfig   {self.kubeconfig}",
            f"  cluster IPs  {self.settings.service_ranges}",
            f"  node ports   {self.settings.node_ports} on {', '.join(self.addresses) or 'no address yet'}",
            "",
            f"  export KUBECONFIG={self.kubeconfig}",
            "  kubectl get services",
            "",
        ]
        for network in self.unrouted:
            lines += [
                f"No route of this machine leads to {network}, so its own processes cannot connect to cluster IPs.",
                f"  ip route add {network} dev lo      (or start with --add-route)",
                "",
            ]
        if not self.forwards:
            lines += [
                "This machine does not forward packets, so only its own processes reach backends elsewhere.",
                "  sysctl -w net.ipv4.ip_forward=1",
                "",
            ]
        return "\n".join([*lines, "Ctrl-C stops it."])


async def stand(
    settings: Settings, configuration: Configuration, *, add_route: bool, on_ready: Callable[[Standing], None]
) -> None:
    """Run everything until SIGTERM or SIGINT; ``on_ready`` is told where things are when Services work.

    Raises `CannotStand`, `fairway.kernel.contract.Unsuitable`, and what `ApiServer` raises.
    """
    started = time.monotonic()
    choice = settings.data_directory / "mode.json"
    with open_machine(configuration, choice) as machine, _locked(settings):
        agent = machine.agent()
        unrouted = tuple(one for one in configuration.service_networks if not _routed(one))
        if add_route:
            unrouted = _add_routes(unrouted)
        addresses = node_addresses(machine.addresses.list())
        async with ApiServer(settings) as server:
            for_node = server.connection(f"{NODE_PREFIX}{configuration.node_name}", NODES_GROUP)
            as_node = open_transport(for_node, agent.metrics.requests)
            for_controllers = server.connection(CONTROLLERS, CONTROLLERS)
            as_controllers = NetworkTransport(for_controllers)
            options = Options(root_ca=for_controllers.certificate_authority.decode())

            def ready() -> None:
                seconds = time.monotonic() - started
                for sentence in (
                    *agent.switching.notes(),
                    *open_localhost(configuration),
                    *rivals(agent.switching.here.mode, agent.switching.leaving),
                ):
                    log.warning("%s", sentence)
                kubeconfig = str(server.kubeconfig)
                node = configuration.node_name
                settle()
                on_ready(Standing(settings, node, addresses, server.url, kubeconfig, seconds, unrouted, _forwards()))

            async with (
                Client(as_node, user_agent="fairway-up") as node_client,
                Client(as_controllers, user_agent="fairway-up") as controllers_client,
            ):
                await register(node_client, configuration.node_name, addresses)
                heartbeat = Heartbeat(node_client, [configuration.node_name])
                controllers = run_controllers(controllers_client, options=options)
                works = controllers, heartbeat.run(), agent.run(node_client, ready)
                await until_signalled(_together(*works))


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Until all of them end; when one fails the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


async def register(client: Client, name: str, addresses: tuple[str, ...]) -> Node:
    """This machine as a Node that is ready; its labels and whatever else somebody gave it stay."""
    document = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        # Nothing here runs pods: those of a Deployment shall say that no node takes them, not that they are on one.
        "spec": {"unschedulable": True},
    }
    try:
        await client.create(NODES, document)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    now = rfc3339(time.time())
    condition = {"type": "Ready", "status": "True", "reason": "FairwayUp", "message": "fairway up runs here"}
    system = platform.uname()
    status = {
        "addresses": [{"type": "InternalIP", "address": one} for one in addresses]
        + [{"type": "Hostname", "address": name}],
        "conditions": [{**condition, "lastHeartbeatTime": now, "lastTransitionTime": now}],
        "nodeInfo": {
            "architecture": system.machine,
            "kernelVersion": system.release,
            "kubeletVersion": f"fairway-{__version__}",
            "kubeProxyVersion": f"fairway-{__version__}",
            "operatingSystem": "linux",
            "osImage": "Linux",
            "bootID": "",
            "machineID": "",
            "systemUUID": "",
            "containerRuntimeVersion": "",
        },
    }
    return await client.patch_status(NODES, name, {"status": status})


def node_addresses(local: tuple[str, ...]) -> tuple[str, ...]:
    """The first address of each family that others may reach, in the kernel's order."""
    found: dict[int, str] = {}
    for text in local:
        address = ip_address(text)
        if not (address.is_loopback or address.is_link_local):
            found.setdefault(address.version, text)
    return tuple(found[version] for version in sorted(found))


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """The data directory for this process alone; the kernel lets go of the lock however the process ends."""
    directory = settings.data_directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStand(
            f"cannot use the data directory {directory}: {error.strerror}; try another --data-dir"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            raise CannotStand(
                f"another `fairway up` (process {holder}) uses {directory}; stop it first, or use another --data-dir"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _routed(text: str) -> bool:
    """Whether a process here could connect to an address of the network; nothing is sent."""
    network = ip_network(text)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(network[1]), 9))
        except OSError:
            return False
    return True


def _forwards() -> bool:
    return sysctl("net.ipv4.ip_forward") == "1"


def _add_routes(networks: tuple[str, ...]) -> tuple[str, ...]:
    """By way of loopback, because the kernel looks for a route before it rewrites the destination; returns the rest."""
    with Links() as links:
        for network in networks:
            try:
                links.add_route(network, link="lo")
            except LinkError as error:
                raise CannotStand(f"--add-route: {error}") from None
    return ()
