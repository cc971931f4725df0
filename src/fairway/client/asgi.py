"""A transport without a network: calls an ASGI application in this very process.

Tests run the real server with it, and `fairway up` its controllers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlencode

from fairway.client.transport import Request, Response, ServerUnreachable, whole

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiTransport:
    """Calls ``app`` for every request; ``headers`` are added to each of them."""

    def __init__(self, app: Application, headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._headers = dict(headers or {})
        self._open: set[_Exchange] = set()

    @property
    def server(self) -> str:
        return "this process"

    async def request(self, request: Request, *, timeout: float) -> Response:
        async with self.stream(request, timeout=timeout) as stream, self._within(timeout):
            return Response(stream.status, stream.headers, await stream.body())

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[_Exchange]:
        exchange = _Exchange(self._app, self._scope(request), request.body, self.server)
        self._open.add(exchange)
        try:
            async with self._within(timeout):
                await exchange.start()
            yield exchange
        finally:
            self._open.discard(exchange)
            await exchange.hang_up()

    async def close(self) -> None:
        for exchange in list(self._open):
            await exchange.hang_up()

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise ServerUnreachable(self.server, f"no answer within {seconds:g} s") from None

    def _scope(self, request: Request) -> dict[str, Any]:
        headers = {"host": "localhost", "content-length": str(len(request.body)), **self._headers, **request.headers}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(request.path),
            "raw_path": request.path.encode(),
            "root_path": "",
            "query_string": urlencode(request.query).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }


class _Exchange:
    """One request and its answer; the application runs in a task of its own, as in a server."""

    def __init__(self, app: Application, scope: dict[str, Any], body: bytes, server: str) -> None:
        self._app, self._scope, self._server = app, scope, server
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        # As in a server, an application that writes faster than its client reads has to wait.
        self._outbox: asyncio.Queue[Message | None] = asyncio.Queue(16)
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._gone = False
        self._ended = False
        self.status = 0
        self.headers: dict[str, str] = {}

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        message = await self._next()
        if message is None:
            raise self._broken()
        self.status = message["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in message.get("headers", ())}

    async def chunk(self) -> bytes:
        while not self._ended:
            message = await self._next()
            if message is None:
                raise self._broken()
            self._ended = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                return bytes(chunk)
        return b""

    async def body(self) -> bytes:
        return await whole(self)

    async def hang_up(self) -> None:
        """Tell the application that its client is gone, as a server does, and wait until it has left."""
        self._gone = True
        self._inbox.put_nowait({"type": "http.disconnect"})
        if self._task is None:
            return
        while not self._task.done():
            while not self._outbox.empty():
                self._outbox.get_nowait()
            done, _ = await asyncio.wait([self._task], timeout=1.0)
            if not done:
                self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._inbox.get, self._send)
        except Exception as error:
            self._failure = error
        if not self._gone:
            await self._outbox.put(None)

    async def _send(self, message: Message) -> None:
        if not self._gone:
            await self._outbox.put(message)

    async def _next(self) -> Message | None:
        return await self._outbox.get()

    def _broken(self) -> ServerUnreachable:
        cause = repr(self._failure) if self._failure else "the answer broke off"
        return ServerUnreachable(self._server, cause)
