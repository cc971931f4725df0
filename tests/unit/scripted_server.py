"""An ASGI application that answers as it is told, also in ways that a good server never would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

Message = MutableMapping[str, Any]


@dataclass
class Exchange:
    """One request that waits for its answer."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    _send: Callable[[Message], Awaitable[None]]
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, document: Any, status: int = 200) -> None:
        await self.begin(status)
        await self.end(msgspec.json.encode(document))

    async def begin(self, status: int = 200) -> None:
        headers = [(b"content-type", b"application/json")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def event(self, kind: str, document: Any) -> None:
        await self.write(msgspec.json.encode({"type": kind, "object": document}) + b"\n")

    async def end(self, chunk: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})
        self._finished.set()

    def break_off(self) -> None:
        """Leave without a proper end, as a server that dies."""
        self._finished.set()

    async def finished(self) -> None:
        await self._finished.wait()


class ScriptedServer:
    """Hands every request to the test, which takes it with ``next()`` and answers it."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[Exchange] = asyncio.Queue()
        self.hung_up = asyncio.Event()

    async def next(self, what: str) -> Exchange:
        """The next request; ``what`` is its expected method and path."""
        exchange = await self._requests.get()
        assert f"{exchange.method} {exchange.path}" == what
        return exchange

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        body = (await receive())["body"]
        exchange = Exchange(scope["method"], scope["raw_path"].decode(), query, headers, body, send)
        self._requests.put_nowait(exchange)
        gone = asyncio.ensure_future(receive())
        finished = asyncio.ensure_future(exchange.finished())
        await asyncio.wait({gone, finished}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.hung_up.set()
        for task in (gone, finished):
            task.cancel()


def service(name: str, version: int, *, uid: str = "", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": name, "uid": uid or name, "resourceVersion": str(version)}
    return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": spec}


def service_list(version: int, *items: Any) -> dict[str, Any]:
    return {"kind": "ServiceList", "metadata": {"resourceVersion": str(version)}, "items": list(items)}


def failure(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": f"it is {reason}", "reason": reason, "code": code}
