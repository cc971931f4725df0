"""A whole cluster in a lab: the network, and the real programs in it.

    router            fairway apiserver ── listens here on 172.30.0.254:6443, and on this machine's 127.0.0.1
    this machine      fairway controllers
                      the pods' node agent (`fairway.lab.workloads`)
    each node         fairway proxy --mode nftables

`up` makes everything and leaves it running; any process can use it afterwards through the state directory, and
`fairway.lab.remains` removes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fairway.apiserver.access.roles import CONTROLLERS, NODE_PREFIX
from fairway.apiserver.access.roles import NODES as NODE_GROUP
from fairway.apiserver.certificates import Authority
from fairway.client.http import Client
from fairway.client.kubeconfig import Connection, load_kubeconfig, write_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.lab import remains
from fairway.lab.errors import LabError
from fairway.lab.manifest import Applied, Entry, apply
from fairway.lab.network import Network
from fairway.lab.processes import Listen, Program, Programs, Start
from fairway.lab.readiness import until_ready
from fairway.lab.rights import RUNNER, grant
from fairway.lab.state import State
from fairway.lab.status import DEFAULT_MODE
from fairway.lab.topology import POD_NETWORK, ROUTER_ADDRESS, SERVICE_NETWORK, LabNode, Topology
from fairway.objects.cluster import ZONE_LABEL
from fairway.objects.codec import Document
from fairway.objects.resources import NODES
from fairway.runtime.clock import SystemClock, rfc3339

_FAIRWAY = "fairway.cli.main"
API_PORT = 6443
READY_SECONDS = 60.0

Say = Callable[[str], None]


def client_of(state: State) -> Client:
    """A client of the lab's API server; close it. Make it inside a running event loop."""
    return Client(NetworkTransport(load_kubeconfig([state.kubeconfig])), user_agent="fairway-lab")


@dataclass(frozen=True)
class Plan:
    """What to bring up. ``temporary``: it lasts no longer than the process that brings it up.

    ``patience``: seconds until its pods must be ready.
    """

    topology: Topology
    entries: tuple[Entry, ...] = ()
    mode: str = DEFAULT_MODE
    temporary: bool = False
    patience: float = READY_SECONDS


class LabCluster:
    """The cluster while it comes up; `say` hears of each step."""

    def __init__(self, plan: Plan, say: Say = lambda words: None) -> None:
        self.plan = plan
        self.topology = plan.topology
        self.state = State(plan.topology.name)
        self.network = Network(plan.topology)
        self.applied: list[Applied] = []
        self._programs = Programs(self.state)
        self._say = say

    async def up(self) -> None:
        """Bring everything up and wait until all pods are ready; whatever goes wrong, nothing is left.

        Raises `LabExists`, `ManifestError`, `ProgramDied` and other `LabError`\\ s.
        """
        self.state.claim(self.topology)
        try:
            await self._build()
        except BaseException:
            # What a program said is gone with its log, so the error has quoted it already.
            self.down()
            raise
        if not self.plan.temporary:
            self.state.finished()

    def down(self) -> None:
        """Remove everything."""
        remains.remove(self.topology.name)
        self._programs.reap()

    async def _build(self) -> None:
        self._say("network")
        await asyncio.to_thread(_build_network, self.network)
        self._say("API server")
        await self._start_api_server()
        self._say(f"controllers, pods, and a proxy on each of {len(self.topology.nodes)} nodes")
        async with client_of(self.state) as client:
            await grant(client)
            programs = self._start_agents()
            await self._alive(self._fill(client), *(program.ready() for program in programs))

    async def _fill(self, client: Client) -> None:
        for node in self.topology.nodes:
            await client.create(NODES, node_document(node))
        if self.plan.entries:
            self._say("manifests")
            self.applied = await apply(client, self.plan.entries)
            self._say("pods")
            await until_ready(client, self.plan.patience)

    async def _start_api_server(self) -> None:
        data = self.state.path / "apiserver"
        start = Start(
            role="apiserver",
            module=_FAIRWAY,
            arguments=(
                "apiserver",
                f"--data-dir={data}",
                f"--advertise-address={ROUTER_ADDRESS}",
                f"--service-cluster-ip-range={SERVICE_NETWORK}",
                "--tls-name=127.0.0.1",
            ),
            listen=(
                Listen(host=ROUTER_ADDRESS, port=API_PORT, namespace=self.topology.router),
                Listen(host="127.0.0.1", port=0),
            ),
            # From here it reaches pods, for services/proxy and pods/proxy.
            namespace=self.topology.router,
            announces=True,
        )
        program = self._programs.start(start)
        await program.ready()
        self._write_kubeconfigs(data, program.start.listen[1].port)

    def _write_kubeconfigs(self, data: Path, port: int) -> None:
        """Everybody has an identity of their own: people here, the controllers, the pods' agent, each node's proxy."""
        connection = load_kubeconfig([data / "admin.conf"])
        here, inside = f"https://127.0.0.1:{port}", f"https://{ROUTER_ADDRESS}:{API_PORT}"
        self._write_kubeconfig(self.state.kubeconfig, replace(connection, server=here))
        authority = Authority(data / "pki")
        users: list[tuple[str, tuple[str, ...], str]] = [(CONTROLLERS, (CONTROLLERS,), here), (RUNNER, (), here)]
        users += [(f"{NODE_PREFIX}{node.name}", (NODE_GROUP,), inside) for node in self.topology.nodes]
        for name, groups, server in users:
            identity = authority.client(name, groups)
            self._write_kubeconfig(
                self.state.kubeconfig_of(name),
                replace(connection, server=server, client_certificate=identity.certificate, client_key=identity.key),
            )

    def _write_kubeconfig(self, path: Path, connection: Connection) -> None:
        text = write_kubeconfig(connection, name=f"fairway-{self.topology.name}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def _start_agents(self) -> list[Program]:
        """Start everything that follows the API."""
        # One process, so nobody to elect; and one that was killed can be started again without waiting for its Lease.
        controllers = ("controllers", f"--kubeconfig={self.state.kubeconfig_of(CONTROLLERS)}", "--leader-elect=false")
        starts = [
            Start(role="controllers", module=_FAIRWAY, arguments=controllers),
            Start(role="pods", module="fairway.lab.workloads", arguments=(self.topology.name,)),
            *(self._proxy(node) for node in self.topology.nodes),
        ]
        return [self._programs.start(one) for one in starts]

    def _proxy(self, node: LabNode) -> Start:
        return Start(
            role=f"proxy-{node.name}",
            module=_FAIRWAY,
            arguments=(
                "proxy",
                f"--kubeconfig={self.state.kubeconfig_of(NODE_PREFIX + node.name)}",
                f"--hostname-override={node.name}",
                f"--mode={self.plan.mode}",
                f"--cluster-cidr={POD_NETWORK}",
                "--answer-ping",
                "--state-file=",
                f"--service-cluster-ip-range={SERVICE_NETWORK}",
            ),
            namespace=self.topology.node_namespace(node.name),
            announces=True,
        )

    async def _alive(self, *works: Awaitable[None]) -> None:
        """Wait for all the works, unless a program dies in the meantime; raises `ProgramDied` then."""
        tasks = [asyncio.ensure_future(work) for work in works]
        death = asyncio.create_task(self._programs.first_death())
        pending = set(tasks)
        try:
            while pending:
                done, _ = await asyncio.wait({*pending, death}, return_when=asyncio.FIRST_COMPLETED)
                for task in pending & done:
                    task.result()
                pending -= done
                if pending and death in done:
                    raise death.result()
        finally:
            for one in (*tasks, death):
                one.cancel()
            await asyncio.gather(*tasks, death, return_exceptions=True)


def node_document(node: LabNode) -> Document:
    """The Node object of a lab's node, ready from the start."""
    now = rfc3339(SystemClock().now())
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "LabReady",
        "message": "a network namespace is always ready",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/os": "linux",
        ZONE_LABEL: node.zone,
        "topology.kubernetes.io/region": "lab",
    }
    # As with nodes that are containers: each has the whole machine. Pods here use nearly nothing of it.
    resources = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}Ki",
        "pods": str(len(list(node.pod_addresses))),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [ready],
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": {"operatingSystem": "linux", "architecture": os.uname().machine, "kubeletVersion": "fairway"},
        },
    }


async def restart(state: State, roles: tuple[str, ...] = ()) -> list[str]:
    """Start again the programs that have died, or only those named; returns their roles.

    Raises `LabError` for an unknown role, for one that runs, and for a program that dies again.
    """
    programs = Programs(state)
    records = {record.start.role: record for record in programs.records()}
    for role in roles:
        if role not in records:
            raise LabError(f"the lab {state.name} has no program {role!r}; it has {', '.join(records)}")
        if records[role].pid:
            raise LabError(f"{role} is running, as process {records[role].pid}")
    due = [record.start for role, record in records.items() if not record.pid and (not roles or role in roles)]
    # Whoever follows the API server reports ready only when it answers, so it comes first.
    for start in sorted(due, key=lambda one: not one.listen):
        await programs.start(start).ready()
    return [start.role for start in due]


def _build_network(network: Network) -> None:
    try:
        network.build()
    except PermissionError as error:
        raise LabError(f"a lab needs root, to make network namespaces ({error}): sudo fairway lab up") from None
    except FileExistsError as error:
        raise LabError(
            f"{error.filename} is there already, from something that was no lab; `fairway lab down` removes it"
        ) from None
