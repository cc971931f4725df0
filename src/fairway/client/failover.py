"""Several API servers of one cluster behind one transport: it stays with the one that answers.

    request ──▶ current server ──unreachable──▶ the next one ──▶ … ──▶ each once, then `ServerUnreachable`
                      ▲                                                       │
                      └────────── the one that answered is the current one ◀──┘

A read is asked again at once. A write is not: nobody knows whether the server that fell silent had done it. But the
next request goes to the next server, and whoever wrote asks again when it sees that nothing has happened.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from fairway.client.transport import Request, Response, ServerUnreachable, Stream, Transport

log = logging.getLogger(__name__)


class FailoverTransport:
    """Several transports as one; closes them all. Servers must share their storage: revisions are compared."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._transports = tuple(transports)
        self._current = 0
        self._answering = ""

    @property
    def server(self) -> str:
        """The one that is asked first now."""
        return self._transports[self._current].server

    async def request(self, request: Request, *, timeout: float) -> Response:
        lost: list[ServerUnreachable] = []
        for transport in self._in_turn(request):
            try:
                answer = await transport.request(request, timeout=timeout)
            except ServerUnreachable as error:
                self._leave(transport)
                lost.append(error)
            else:
                self._stay(transport)
                return answer
        raise _all(lost)

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[Stream]:
        async with AsyncExitStack() as stack:
            found, transport = await self._open(request, timeout, stack)
            try:
                yield found
            except ServerUnreachable:
                # It broke off in the middle: whoever follows comes again, and meets another one.
                self._leave(transport)
                raise

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()

    async def _open(self, request: Request, timeout: float, stack: AsyncExitStack) -> tuple[Stream, Transport]:
        lost: list[ServerUnreachable] = []
        for transport in self._in_turn(request):
            try:
                found = await stack.enter_async_context(transport.stream(request, timeout=timeout))
            except ServerUnreachable as error:
                self._leave(transport)
                lost.append(error)
            else:
                self._stay(transport)
                return found, transport
        raise _all(lost)

    def _in_turn(self, request: Request) -> Sequence[Transport]:
        first = self._current
        turn = self._transports[first:] + self._transports[:first]
        return turn if request.method == "GET" else turn[:1]

    def _leave(self, transport: Transport) -> None:
        """Ask the next one first, unless somebody has left this one already."""
        if self._transports[self._current] is transport:
            self._current = (self._current + 1) % len(self._transports)

    def _stay(self, transport: Transport) -> None:
        self._current = self._transports.index(transport)
        if self._answering not in ("", transport.server):
            log.warning("the API server at %s does not answer; using %s", self._answering, transport.server)
        self._answering = transport.server


def _all(lost: Sequence[ServerUnreachable]) -> ServerUnreachable:
    if len(lost) == 1:
        return lost[0]
    first, *others = lost
    return ServerUnreachable(first.server, "; ".join([first.cause, *(f"{one.server}: {one.cause}" for one in others)]))
