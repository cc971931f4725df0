"""Our client and a real kube-apiserver, where FAIRWAY_KUBE_BINARIES names a folder with one.

What it does by itself, such as streaming lists, bookmarks, and forgetting, is its own here, not what we think of it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.client.http import Client, Event, ObjectList
from fairway.client.informer import Informer
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.client.transport import Transport
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import SERVICES, Resource
from fairway.objects.service import Service
from fairway.objects.status import ApiError
from tests.clients.conftest import Kubectl
from tests.reference_programs import KubeApiServer, kube_apiserver

pytestmark = pytest.mark.clients

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"
FOLLOWED = (
    ("", "services"),
    ("", "nodes"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "servicecidrs"),
)


class Watched(Client):
    """A client that knows how many whole lists it has asked for, and whether a watch was refused for who asks."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.lists = 0
        self.refused = asyncio.Event()

    async def list(self, *given: Any, **more: Any) -> ObjectList[Any]:
        self.lists += 1
        return await super().list(*given, **more)

    async def watch(self, *given: Any, **more: Any) -> AsyncGenerator[Sequence[Event[Any]], None]:
        try:
            async for events in super().watch(*given, **more):
                yield events
        except ApiError as error:
            if error.code == 401:
                self.refused.set()
            raise


class Followed:
    """An informer of Services as the proxy's, and what it told: name, whether it was there, whether it is."""

    def __init__(self, server: KubeApiServer) -> None:
        self.client = Watched(NetworkTransport(load_kubeconfig([server.kubeconfig])))
        self.told: asyncio.Queue[tuple[str, bool, bool]] = asyncio.Queue()
        self.informer: Informer[Service] = Informer(self.client, SERVICES, namespace="default", on_change=self._note)
        self.informer.saving("spec.clusterIP!=None").stream()

    def _note(self, key: Key, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        if key.name != "kubernetes":
            self.told.put_nowait((key.name, old is not None, new is not None))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubeApiServer]:
    with kube_apiserver(tmp_path) as running:
        yield running


@asynccontextmanager
async def following(server: KubeApiServer) -> AsyncIterator[Followed]:
    it = Followed(server)
    async with asyncio.timeout(90), it.client:
        task = asyncio.create_task(it.informer.run())
        try:
            yield it
        finally:
            task.cancel()
            await asyncio.wait([task])


async def create(client: Client, name: str, address: str) -> None:
    spec = {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "clusterIP": address,
        "clusterIPs": [address],
        "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
    }
    await client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def test_everything_there_is_and_then_what_happens(server: KubeApiServer) -> None:
    async with server.client() as writer, following(server) as it:
        await it.informer.synced()
        await create(writer, "a", "10.96.7.1")
        assert await it.told.get() == ("a", False, True)
        await writer.patch(SERVICES, "a", {"metadata": {"labels": {"b": "c"}}}, "default")
        assert await it.told.get() == ("a", True, True)
        await writer.delete(SERVICES, "a", "default")
        assert await it.told.get() == ("a", True, False)
        # Not more than one in vain, where a server has never heard of the field by which to save.
        assert it.client.lists <= (0 if server.streams else 2)


async def test_a_server_that_comes_back_is_followed_from_where_it_was(server: KubeApiServer) -> None:
    async with following(server) as it:
        async with server.client() as writer:
            await create(writer, "a", "10.96.7.1")
        assert await it.told.get() == ("a", False, True)
        lists = it.client.lists
        server.kill()
        server.start()
        async with server.client() as writer:
            await create(writer, "b", "10.96.7.2")
        assert await it.told.get() == ("b", False, True)
        assert it.client.lists == lists


async def test_after_a_revision_that_is_forgotten_only_the_differences_are_told(server: KubeApiServer) -> None:
    async with server.client() as writer, following(server) as it:
        for number, name in enumerate("ab"):
            await create(writer, name, f"10.96.7.{number + 1}")
            assert await it.told.get() == (name, False, True)
        server.kill()
        server.remove("services", "a")
        server.start()
        assert await it.told.get() == ("a", True, False)
        assert it.told.empty()


async def test_a_token_that_is_taken_no_more_is_read_again_from_its_file(server: KubeApiServer) -> None:
    async with following(server) as it:
        await it.informer.synced()
        server.kill()
        server.start(token="second")
        await it.client.refused.wait()
        server.token.write_text("second")
        async with server.client() as writer:
            await create(writer, "a", "10.96.7.1")
        assert await it.told.get() == ("a", False, True)


async def administrator(server: KubeApiServer, home: Path) -> Kubectl:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    kubectl = Kubectl(server.kubeconfig, home)
    if "rbac.authorization.k8s.io" not in await kubectl("api-versions"):
        pytest.skip("this kube-apiserver has no roles: it is its machinery alone")
    return kubectl


class Review(KubernetesObject):
    """What the server says about what an account may do."""

    status: dict[str, Any] = {}


REVIEWS = Resource("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False, Review)


async def may(client: Client, verb: str, group: str, resource: str) -> bool:
    """Whether the manifests' account may do that."""
    attributes = {"verb": verb, "group": group, "resource": resource}
    account = "system:serviceaccount:kube-system:fairway-proxy"
    review = {"metadata": {}, "spec": {"user": account, "resourceAttributes": attributes}}
    return bool((await client.create(REVIEWS, review)).status["allowed"])


async def test_the_manifests_are_taken_and_their_account_may_do_what_a_proxy_does_and_nothing_else(
    server: KubeApiServer, tmp_path: Path
) -> None:
    kubectl = await administrator(server, tmp_path)
    for way in ((), ("--server-side", "--force-conflicts")):
        await kubectl("apply", *way, "-f", str(DEPLOY))
    everything = [
        (verb, group, resource)
        for group, resource in (*FOLLOWED, ("events.k8s.io", "events"), ("", "secrets"), ("apps", "deployments"))
        for verb in ("get", "list", "watch", "create", "patch", "update", "delete")
    ]
    async with server.client() as client:
        allowed = {(verb, *what) for verb, *what in everything if await may(client, verb, *what)}
    followed = {(verb, *what) for what in FOLLOWED for verb in ("list", "watch")}
    assert allowed == followed | {(verb, "events.k8s.io", "events") for verb in ("create", "patch")}


async def test_an_account_by_its_token_reads_what_it_may_and_is_refused_the_rest(
    server: KubeApiServer, tmp_path: Path
) -> None:
    kubectl = await administrator(server, tmp_path)
    await kubectl("apply", "-f", str(DEPLOY))
    server.token.write_text(await kubectl("-n", "kube-system", "create", "token", "fairway-proxy"))
    async with following(server) as it:
        await it.informer.synced()
        with pytest.raises(ApiError, match="cannot create resource") as refused:
            await create(it.client, "a", "10.96.7.1")
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
