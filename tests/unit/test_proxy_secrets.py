"""Unit tests of `fairway.proxy.secrets`: Secrets are followed from the first Service that asks to the last."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fairway.client.asgi import AsgiTransport
from fairway.client.http import Client
from fairway.model.view import NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointPort, EndpointSlice
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Cache, Cause
from fairway.proxy.receipts import Round, RoundKind
from fairway.proxy.secrets import SecretFollower
from fairway.relay.certificates import Certificates
from tests.unit.certificate import pair
from tests.unit.scripted_server import Exchange, ScriptedServer, failure

SECRET = Key("shop", "tls")
WEB, API = Key("shop", "web"), Key("shop", "api")
PATH = "GET /api/v1/namespaces/shop/secrets"
DONE = Round(kind=RoundKind.CHANGE, at=0.0, seconds=0.0, commands=1, frontends=1)


@dataclass
class World:
    """A cache of Services, and what their owners were told."""

    server: ScriptedServer = field(default_factory=ScriptedServer)
    cache: Cache = field(default_factory=lambda: Cache(NodeSettings(name="node-a")))
    told: asyncio.Queue[tuple[Key, str]] = field(default_factory=asyncio.Queue)
    changed: asyncio.Queue[tuple[Key, bool]] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.certificates = Certificates(lambda key, data: self.changed.put_nowait((key, data is not None)))
        self.secrets = SecretFollower(self.cache, self.certificates, lambda *one: self.told.put_nowait(one))

    def asks(self, service: Key, secret: str) -> None:
        """A round after which the Service asks for that Secret; empty: for none."""
        notes = {"fairway.dev/tls-secret": secret} if secret else {}
        cause = Cause("Service", service, "1", 0.0, "")
        metadata = ObjectMeta(name=service.name, namespace=service.namespace, annotations=notes)
        address = "10.96.0.1" if service == WEB else "10.96.0.2"
        spec = ServiceSpec(cluster_ip=address, cluster_ips=(address,), ports=(ServicePort(port=443),))
        self.cache.put_service(service, Service(metadata=metadata, spec=spec), cause)
        labels = {"kubernetes.io/service-name": service.name}
        slice_ = EndpointSlice(
            metadata=ObjectMeta(name=f"{service.name}-1", namespace=service.namespace, labels=labels),
            address_type="IPv4",
            ports=(EndpointPort(name="", port=8443),),
            endpoints=(Endpoint(addresses=("10.244.1.2",)),),
        )
        self.cache.put_slice(slice_.metadata.key, slice_, cause)
        for _ in self.secrets.finished(DONE, (), self.cache.take()):
            pass

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.secrets.run(Client(AsgiTransport(self.server))))
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def answered(self, *items: Any) -> Exchange:
        """The watch that follows a list of these."""
        asked = await self.server.next(PATH)
        assert asked.query["fieldSelector"] == "metadata.name=tls"
        await asked.answer(failure(422, "Invalid"), 422)
        listed = {"kind": "SecretList", "metadata": {"resourceVersion": "5"}, "items": list(items)}
        await (await self.server.next(PATH)).answer(listed)
        watch = await self.server.next(PATH)
        await watch.begin()
        return watch


def secret(version: int, certificate: bytes, key: bytes) -> dict[str, Any]:
    data = {name: base64.b64encode(one).decode() for name, one in (("tls.crt", certificate), ("tls.key", key))}
    return {"metadata": {"name": "tls", "namespace": "shop", "resourceVersion": str(version)}, "data": data}


async def test_owners_are_told_what_is_wrong_with_a_secret_once_for_as_long_as_it_lasts() -> None:
    world = World()
    world.asks(WEB, "tls")
    async with world.following():
        watch = await world.answered()
        assert await world.told.get() == (WEB, "Secret shop/tls does not exist")
        world.asks(API, "tls")
        assert await world.told.get() == (API, "Secret shop/tls does not exist")
        await watch.event("ADDED", secret(6, *pair("shop")))
        await watch.event("MODIFIED", secret(7, b"hello", b"world"))
        told = [await world.told.get() for _ in range(2)]
        assert {service for service, _ in told} == {WEB, API}
        assert all("data[tls.crt] holds no certificate in PEM" in sentence for _, sentence in told)
        assert world.certificates.context(SECRET) is not None
        await watch.event("MODIFIED", secret(8, b"hello", b"world"))
        await watch.event("DELETED", secret(9, b"hello", b"world"))
        assert {(await world.told.get())[1] for _ in range(2)} == {"Secret shop/tls does not exist"}
    assert world.told.empty()


async def test_a_secret_that_may_not_be_read_is_told_too() -> None:
    world = World()
    world.asks(WEB, "tls")
    async with world.following():
        await (await world.server.next(PATH)).answer(failure(403, "Forbidden"), 403)
        service, sentence = await world.told.get()
        assert service == WEB
        assert "cannot be read by this node's proxy: it needs a role with get, list and watch" in sentence


async def test_a_secret_is_followed_until_nobody_asks_for_it() -> None:
    world = World()
    world.asks(WEB, "tls")
    world.asks(API, "tls")
    async with world.following():
        watch = await world.answered(secret(4, *pair("shop")))
        world.asks(WEB, "")
        assert world.secrets.wanted == {SECRET}
        world.asks(API, "")
        assert world.secrets.wanted == frozenset()
        while await world.changed.get() != (SECRET, False):
            pass
        assert world.certificates.context(SECRET) is None
        watch.break_off()
