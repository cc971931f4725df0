"""The node agent of every node of a lab, in one process: a Pod that is bound to a node gets its place and its servers.

    Pod bound ──▶ address, namespace, cable ──▶ runtime.start ──▶ status: Running, Ready
    Pod being deleted ──▶ status: not Ready ──▶ (drain) ──▶ runtime.stop, namespace removed ──▶ Pod deleted for good
    Pod gone ──▶ the same, at once

Level-triggered: each Pod is compared with what runs, so it does not matter which events were missed, or whether this
process was killed in between. A pod keeps its address over a restart, since that is in its status.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.client.transport import ServerUnreachable
from fairway.kernel import namespaces
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab import podstatus
from fairway.lab.addresses import PodAddresses
from fairway.lab.errors import LabError
from fairway.lab.network import Network
from fairway.lab.ports import served_ports
from fairway.lab.pulse import keep_pulse
from fairway.lab.rights import RUNNER
from fairway.lab.servers import Identity, StandIn
from fairway.lab.state import State
from fairway.lab.topology import LabNode, LabPod
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key
from fairway.objects.resources import PODS
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, SystemClock, rfc3339
from fairway.runtime.queue import WorkLoop
from fairway.runtime.retry import Patience

# A pod that is asked to go keeps answering for so long: time for every proxy to hear of it.
DRAIN_SECONDS = 1.0
_WORKERS = 4
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlacedPod:
    """A pod with the place it was given. ``host`` is the address to listen on; empty: on all."""

    pod: Pod
    node: LabNode
    address: str
    namespace: NetworkNamespace

    @property
    def host(self) -> str:
        # A node has several addresses, and a UDP answer must come from the one that was asked.
        return self.address if self.pod.spec.host_network else ""


class PodRuntime(Protocol):
    """What runs in a pod. Today the stand-in; a runtime of real programs takes the same place."""

    async def start(self, placed: PlacedPod) -> None:
        """Run the pod inside its namespace, until it answers; raises `LabError` and leaves nothing when it cannot."""

    async def stop(self, placed: PlacedPod) -> None:
        """End it; nothing happens if it does not run."""


class StandIns:
    """The runtime of stand-in servers: each container port answers with the pod's name."""

    def __init__(self) -> None:
        self._running: dict[str, StandIn] = {}

    async def start(self, placed: PlacedPod) -> None:
        meta = placed.pod.metadata
        server = StandIn(Identity(meta.name, meta.namespace, placed.node.name, placed.address))
        await server.start(served_ports(placed.pod), placed.namespace, host=placed.host)
        self._running[meta.uid] = server

    async def stop(self, placed: PlacedPod) -> None:
        server = self._running.pop(placed.pod.metadata.uid, None)
        if server:
            await server.close()


@dataclass
class _Running:
    placed: PlacedPod
    stop_at: float | None = None

    @property
    def uid(self) -> str:
        return self.placed.pod.metadata.uid


class Workloads:
    """Runs the pods of a lab until cancelled."""

    def __init__(self, client: Client, network: Network, runtime: PodRuntime, clock: Clock | None = None) -> None:
        self._client = client
        self._network = network
        self._nodes = {node.name: node for node in network.topology.nodes}
        self._runtime = runtime
        self._clock = clock or SystemClock()
        self._addresses = PodAddresses(network.topology)
        self._running: dict[Key, _Running] = {}
        self._informer: Informer[Pod] = Informer(client, PODS, on_change=self._changed)
        patience = Patience(clock=self._clock)
        self._loop: WorkLoop[Key] = WorkLoop(
            self._reconcile, on_error=self._failed, workers=_WORKERS, patience=patience
        )

    async def run(self) -> None:
        """Follow the Pods until cancelled; then the servers are stopped, and the namespaces stay."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informer.run())
                await self._informer.synced()
                self._take_over()
                group.create_task(self._loop.run())
        finally:
            for running in self._running.values():
                await self._runtime.stop(running.placed)

    def _take_over(self) -> None:
        """What a former process left: addresses stay with their pods, namespaces without a pod go."""
        expected = set()
        for pod in self._informer.cache.values():
            node = pod.spec.node_name
            if node in self._nodes and pod.status.pod_ip and not pod.spec.host_network:
                self._addresses.reserve(node, pod.metadata.uid, pod.status.pod_ip)
                expected.add(self._network.topology.pod_namespace(_lab_pod(pod, pod.status.pod_ip)))
        prefix = self._network.topology.prefix
        for name in namespaces.names(prefix):
            if "." in name.removeprefix(prefix) and name not in expected:
                namespaces.delete(name)

    def _changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self._loop.add(key)

    def _failed(self, key: Key, error: Exception | None, failures: int) -> None:
        if error is None:
            log.info("pod %s: works again", key)
        elif failures == 1:
            log.warning("pod %s: %s; trying again", key, error)

    async def _reconcile(self, key: Key) -> None:
        pod = self._informer.cache.get(key)
        running = self._running.get(key)
        if running and (pod is None or running.uid != pod.metadata.uid):
            await self._stop(key, running)
            running = None
        if pod is None or pod.spec.node_name not in self._nodes:
            return
        if pod.terminating:
            await self._let_go(key, pod, running)
        elif running is None:
            await self._start(key, pod)
        elif pod.status.pod_ip != running.placed.address:
            await self._report(pod, self._running_status(running.placed))

    async def _start(self, key: Key, pod: Pod) -> None:
        node = self._nodes[pod.spec.node_name]
        try:
            placed = self._place(pod, node)
            self._running[key] = _Running(placed)
            await self._runtime.start(placed)
        except (LabError, OSError) as error:
            if key in self._running:
                await self._stop(key, self._running[key])
            else:
                self._addresses.release(node.name, pod.metadata.uid)
            now = rfc3339(self._clock.now())
            await self._report(pod, podstatus.failed(pod, reason=str(error), node_address=node.address, now=now))
            raise
        await self._report(pod, self._running_status(placed))
        log.info("pod %s: running on %s with %s", key, node.name, placed.address)

    def _place(self, pod: Pod, node: LabNode) -> PlacedPod:
        if pod.spec.host_network:
            return PlacedPod(pod, node, node.address, self._network.node(node.name))
        address = self._addresses.allocate(node.name, pod.metadata.uid)
        return PlacedPod(pod, node, address, self._network.add_pod(_lab_pod(pod, address)))

    async def _let_go(self, key: Key, pod: Pod, running: _Running | None) -> None:
        if running:
            if running.stop_at is None:
                grace = pod.metadata.deletion_grace_period_seconds
                drain = DRAIN_SECONDS if grace is None else min(DRAIN_SECONDS, grace)
                running.stop_at = self._clock.monotonic() + drain
                await self._report(pod, podstatus.draining(pod, now=rfc3339(self._clock.now())))
            left = running.stop_at - self._clock.monotonic()
            if left > 0:
                self._loop.add_later(key, left)
                return
            await self._stop(key, running)
            log.info("pod %s: stopped", key)
        meta = pod.metadata
        await _unless_gone(self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid, grace_seconds=0))

    async def _stop(self, key: Key, running: _Running) -> None:
        await self._runtime.stop(running.placed)
        pod, node = running.placed.pod, running.placed.node.name
        if not pod.spec.host_network:
            self._network.remove_pod(_lab_pod(pod, running.placed.address))
            self._addresses.release(node, running.uid)
        self._running.pop(key, None)

    def _running_status(self, placed: PlacedPod) -> Document:
        now = rfc3339(self._clock.now())
        return podstatus.running(placed.pod, address=placed.address, node_address=placed.node.address, now=now)

    async def _report(self, pod: Pod, status: Document) -> None:
        meta = pod.metadata
        # The uid makes it a conflict when the name belongs to another pod by now.
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        await _unless_gone(self._client.patch_status(PODS, meta.name, patch, meta.namespace))


async def _unless_gone(call: Awaitable[object]) -> None:
    try:
        await call
    except ApiError as error:
        # The informer will tell; there is nothing left to do for the pod that was meant.
        if error.code not in (404, 409):
            raise


def _lab_pod(pod: Pod, address: str) -> LabPod:
    return LabPod(pod.metadata.name, pod.spec.node_name, address, pod.metadata.namespace)


async def run(name: str) -> None:
    """Run the pods of the lab of that name until cancelled; raises `LabError` if there is none."""
    state = State(name)
    network = Network(state.topology())
    transport = NetworkTransport(load_kubeconfig([state.kubeconfig_of(RUNNER)]))
    async with Client(transport, user_agent="fairway-lab-pods") as client, asyncio.TaskGroup() as group:
        group.create_task(keep_pulse(client, [node.name for node in network.topology.nodes]))
        group.create_task(Workloads(client, network, StandIns()).run())


def main() -> int:
    """``python -m fairway.lab.workloads NAME``: the process that `fairway lab up` starts."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(run(sys.argv[1]))
    except (LabError, ServerUnreachable, ApiError) as error:
        print(f"fairway: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
