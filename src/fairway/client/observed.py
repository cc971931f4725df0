"""A transport that tells how each request went: which server, which answer, how long it took, how much was sent.

Client ──▶ ObservedTransport ──▶ another transport
                 └─▶ Exchange, one for each request; a watch's tells only that it began
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from fairway.client.transport import Request, Response, ServerUnreachable, Stream, Transport
from fairway.runtime.clock import Clock, SystemClock


class Answered(NamedTuple):
    """The whole of an answer; sizes are in bytes and without headers."""

    seconds: float
    sent: int
    received: int


class Exchange(NamedTuple):
    """``status`` is None when no answer came; ``answered`` when none came, or one that goes on, such as a watch's."""

    method: str
    server: str
    status: int | None
    answered: Answered | None = None


class ObservedTransport:
    """Another transport, which it closes; ``tell`` must not raise."""

    def __init__(self, inner: Transport, tell: Callable[[Exchange], None], clock: Clock | None = None) -> None:
        self._inner, self._tell, self._clock = inner, tell, clock or SystemClock()

    @property
    def server(self) -> str:
        return self._inner.server

    async def request(self, request: Request, *, timeout: float) -> Response:
        began = self._clock.monotonic()
        try:
            answer = await self._inner.request(request, timeout=timeout)
        except ServerUnreachable as error:
            self._tell(Exchange(request.method, error.server, None))
            raise
        took = Answered(self._clock.monotonic() - began, len(request.body), len(answer.body))
        self._tell(Exchange(request.method, self._inner.server, answer.status, took))
        return answer

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[Stream]:
        began = False
        try:
            async with self._inner.stream(request, timeout=timeout) as found:
                began = True
                self._tell(Exchange(request.method, self._inner.server, found.status))
                yield found
        except ServerUnreachable as error:
            if not began:
                self._tell(Exchange(request.method, error.server, None))
            raise

    async def close(self) -> None:
        await self._inner.close()
