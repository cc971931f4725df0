"""Calls to the ASGI application of the API server, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fairway.apiserver.app import App
from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Watching:
    """An open watch: its lines as they come."""

    _queue: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _buffer: bytes = b""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    hang_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Any:
        """The next line, decoded; None at the end of the stream."""
        while b"\n" not in self._buffer:
            part = await asyncio.wait_for(self._queue.get(), 30)
            if part is None:
                return None
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return msgspec.json.decode(line)

    async def told(self) -> tuple[str, str]:
        """The next line's type and the name of its object."""
        line = await self.next()
        return line["type"], line["object"]["metadata"]["name"]

    async def send(self, message: Any) -> None:
        self.begun.set()
        if message["type"] == "http.response.body":
            if message.get("body"):
                self._queue.put_nowait(message["body"])
            if not message.get("more_body"):
                self._queue.put_nowait(None)


class Calls:
    """One application and the requests to it, each with the ``headers``."""

    def __init__(self, app: App, **headers: str) -> None:
        self.app = app
        self._headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def __call__(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        raw: bytes | None = None,
        agent: str = "",
    ) -> Answer:
        data = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        received: list[Any] = []

        async def send(message: Any) -> None:
            received.append(message)

        messages = iter([{"type": "http.request", "body": data}])

        async def receive() -> Any:
            return next(messages, {"type": "http.disconnect"})

        scope = _scope(method, url, content_type, accept, agent)
        scope["headers"] += self._headers
        await self.app(scope, receive, send)
        head = received[0]
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Answer(head["status"], headers, b"".join(message.get("body", b"") for message in received[1:]))

    @asynccontextmanager
    async def watch(self, url: str, accept: str = JSON) -> AsyncIterator[Watching]:
        watching = Watching()

        async def receive() -> Any:
            await watching.hang_up.wait()
            return {"type": "http.disconnect"}

        separator = "&" if "?" in url else "?"
        scope = _scope("GET", f"{url}{separator}watch=1", JSON, accept)
        task = asyncio.create_task(self.app(scope, receive, watching.send))
        try:
            await asyncio.wait_for(watching.begun.wait(), 30)
            yield watching
        finally:
            watching.hang_up.set()
            await asyncio.wait_for(task, 30)


def _scope(method: str, url: str, content_type: str, accept: str, agent: str = "") -> dict[str, Any]:
    path, _, query = url.partition("?")
    headers = [(b"content-type", content_type.encode()), (b"accept", accept.encode())]
    headers += [(b"user-agent", agent.encode())] if agent else []
    return {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}


async def start(directory: Path = Path("/nowhere")) -> Calls:
    """An API server over an empty memory."""
    return Calls(await create_app(MemoryStorage(), Settings(data_directory=directory, advertise_address="192.0.2.1")))


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "main", "image": "any"}]},
    }
