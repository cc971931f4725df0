"""How bytes travel to an API server and back: one contract, over the network (`NetworkTransport`) or in memory.

A transport knows nothing of objects. Its one error is `ServerUnreachable`, which names the server and the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


class ServerUnreachable(Exception):
    """No answer came, or not a whole one: nobody knows whether the request had an effect."""

    def __init__(self, server: str, cause: str) -> None:
        super().__init__(f"cannot reach the API server at {server}: {cause}")
        self.server = server
        self.cause = cause


@dataclass(frozen=True)
class Request:
    """``path`` begins with a slash and is already quoted; ``query`` values are not."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """An answer whose body comes bit by bit."""

    @property
    def status(self) -> int: ...

    async def chunk(self) -> bytes:
        """What has arrived of the body, as soon as there is anything; empty at its end.

        Raises `ServerUnreachable` when it breaks off.
        """

    async def body(self) -> bytes:
        """The whole body."""


class Transport(Protocol):
    """The contract. Every method raises `ServerUnreachable`."""

    @property
    def server(self) -> str:
        """The server's URL, for people."""

    async def request(self, request: Request, *, timeout: float) -> Response:
        """Send, and wait at most ``timeout`` seconds for the whole answer."""

    def stream(self, request: Request, *, timeout: float) -> AbstractAsyncContextManager[Stream]:
        """Send, and wait at most ``timeout`` seconds for the first line of the answer; the body may take for ever."""

    async def close(self) -> None:
        """Let go of connections; nothing can be sent afterwards."""


async def whole(stream: Stream) -> bytes:
    """The body of a stream, put together."""
    found: list[bytes] = []
    while chunk := await stream.chunk():
        found.append(chunk)
    return b"".join(found)


class Lines:
    """Chunks to lines, wherever the chunks were cut."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends; empty lines are left out."""
        lines = chunk.split(b"\n")
        tail = lines.pop()
        if not lines:
            # A long line comes in many chunks: collecting them keeps the cost linear.
            self._rest.append(tail)
            return []
        if self._rest:
            lines[0] = b"".join((*self._rest, lines[0]))
        self._rest = [tail] if tail else []
        return [line for line in lines if line]
