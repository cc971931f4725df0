"""The lab's node agent: pods come, answer, keep their address, and go in good order. The API server is the real one."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.kernel import namespaces
from fairway.lab.network import Network
from fairway.lab.probe import ask
from fairway.lab.topology import LabPod, cluster
from fairway.lab.workloads import StandIns, Workloads
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key
from fairway.objects.resources import PODS
from fairway.runtime.clock import Clock, FakeClock

pytestmark = pytest.mark.kernel

WEB: Document = {"name": "web", "image": "nginx", "ports": [{"containerPort": 8080, "name": "tcp"}]}
_numbers = itertools.count(1)


@pytest.fixture
def network(machine_for_labs: None) -> Iterator[Network]:
    with Network(cluster(f"fwt-pods-{os.getpid()}-{next(_numbers)}", 2)) as built:
        yield built


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    storage = MemoryStorage(revision=1)
    app = await create_app(storage, Settings(data_directory=tmp_path, storage="memory"))
    async with Client(AsgiTransport(app)) as client:
        yield client
    app.stop()
    storage.close()


class Seen:
    """The Pods as a watcher sees them; what was seen of each stays known."""

    def __init__(self, client: Client) -> None:
        self._changed = asyncio.Event()
        self.history: dict[str, list[Pod | None]] = {}
        self.informer: Informer[Pod] = Informer(client, PODS, on_change=self._note)

    def _note(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self.history.setdefault(key.name, []).append(new)
        self._changed.set()

    def pod(self, name: str) -> Pod | None:
        return self.informer.cache.get(Key("default", name))

    async def until(self, name: str, right: Callable[[Pod | None], bool]) -> Pod | None:
        async with asyncio.timeout(60):
            while not right(self.pod(name)):
                self._changed.clear()
                await self._changed.wait()
        return self.pod(name)

    async def ready(self, name: str) -> Pod:
        pod = await self.until(name, lambda one: one is not None and one.ready)
        assert pod is not None
        return pod

    async def gone(self, name: str) -> None:
        await self.until(name, lambda one: one is None)


@asynccontextmanager
async def watching(client: Client) -> AsyncIterator[Seen]:
    seen = Seen(client)
    async with background(seen.informer.run()):
        await seen.informer.synced()
        yield seen


@asynccontextmanager
async def background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def agent(client: Client, network: Network, clock: Clock | None = None) -> Any:
    return background(Workloads(client, network, StandIns(), clock).run())


async def create(client: Client, name: str, node: str = "node-1", **spec: Any) -> Pod:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [WEB], **spec},
    }
    return await client.create(PODS, document)


async def test_a_bound_pod_gets_an_address_answers_and_is_ready(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "web-1", "node-2")
        pod = await seen.ready("web-1")
        assert pod.status.pod_ip == "10.244.2.2"
        assert (pod.status.phase, pod.status.host_ip) == ("Running", "172.30.0.2")
        answer = await asyncio.to_thread(ask, network.place("client-node-1"), pod.status.pod_ip, 8080)
        assert answer.pod == "web-1"
        document = await api.get_document(PODS, "web-1", "default")
        (container,) = document["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0)
        assert "running" in container["state"]


async def test_a_pod_without_a_node_waits_and_one_of_another_cluster_s_node_is_left_alone(
    api: Client, network: Network
) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "unbound", "")
        await create(api, "elsewhere", "somebody-elses-node")
        await create(api, "ours")
        await seen.ready("ours")
        for name in ("unbound", "elsewhere"):
            pod = seen.pod(name)
            assert pod is not None
            assert not pod.ready
            assert pod.addresses == ()


async def test_a_deleted_pod_is_not_ready_first_and_gone_afterwards(api: Client, network: Network) -> None:
    clock = FakeClock()
    async with agent(api, network, clock), watching(api) as seen:
        await create(api, "web-1")
        pod = await seen.ready("web-1")
        await api.delete(PODS, "web-1", "default")
        await seen.until("web-1", lambda one: one is not None and one.terminating and not one.ready)
        # It still answers whoever has not heard of it yet.
        assert (await asyncio.to_thread(ask, network.node("node-1"), pod.status.pod_ip, 8080)).pod == "web-1"
        clock.advance(await clock.sleeper())
        await seen.gone("web-1")
        assert network.topology.pod_namespace(LabPod("web-1", "node-1", "")) not in namespaces.names()


async def test_a_pod_deleted_without_grace_stops_at_once(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "web-1")
        await seen.ready("web-1")
        await api.delete(PODS, "web-1", "default", grace_seconds=0)
        await seen.gone("web-1")
        await create(api, "web-2")
        await seen.ready("web-2")
        assert namespaces.names(f"{network.topology.prefix}default.") == [f"{network.topology.prefix}default.web-2"]


async def test_a_new_pod_of_the_same_name_is_another_pod(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "web-1")
        first = await seen.ready("web-1")
        await api.delete(PODS, "web-1", "default", grace_seconds=0)
        await create(api, "web-1")
        uid = first.metadata.uid
        pod = await seen.until("web-1", lambda one: one is not None and one.metadata.uid != uid and one.ready)
        assert pod is not None
        assert pod.status.pod_ip != first.status.pod_ip
        assert (await asyncio.to_thread(ask, network.node("node-1"), pod.status.pod_ip, 8080)).ok


async def test_after_a_restart_the_pods_have_the_addresses_they_had(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        for number in range(1, 4):
            await create(api, f"web-{number}")
        before = {name: (await seen.ready(name)).status.pod_ip for name in ("web-1", "web-2", "web-3")}
    stray = network.add_pod(LabPod("long-gone", "node-2", "10.244.2.50"))
    async with agent(api, network), watching(api) as seen:
        await create(api, "web-0")
        newcomer = await seen.ready("web-0")
        assert newcomer.status.pod_ip not in before.values()
        for name, address in before.items():
            assert (await seen.ready(name)).status.pod_ip == address
            assert (await asyncio.to_thread(ask, network.node("node-2"), address, 8080)).pod == name
        assert not stray.exists


async def test_a_pod_on_the_node_s_network_serves_on_the_node_s_address(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "host-1", "node-2", hostNetwork=True)
        pod = await seen.ready("host-1")
        assert pod.status.pod_ip == "172.30.0.2"
        assert (await asyncio.to_thread(ask, network.place("client-node-1"), "172.30.0.2", 8080)).pod == "host-1"


async def test_a_pod_whose_port_is_taken_says_so_and_starts_when_it_is_free(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "first", hostNetwork=True)
        await seen.ready("first")
        await create(api, "second", hostNetwork=True)
        await seen.until(
            "second", lambda one: one is not None and one.status.phase == "Pending" and bool(one.status.conditions)
        )
        document = await api.get_document(PODS, "second", "default")
        waiting = document["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerError", "message": "port 8080/TCP: Address already in use"}
        await api.delete(PODS, "first", "default", grace_seconds=0)
        await seen.ready("second")
        assert (await asyncio.to_thread(ask, network.place("client-node-2"), "172.30.0.1", 8080)).pod == "second"


async def test_a_pod_without_ports_is_ready_too(api: Client, network: Network) -> None:
    async with agent(api, network), watching(api) as seen:
        await create(api, "worker", containers=[{"name": "worker", "image": "worker"}])
        pod = await seen.ready("worker")
        answer = await asyncio.to_thread(ask, network.node("node-1"), pod.status.pod_ip, 8080)
        assert answer.result == "refused"
