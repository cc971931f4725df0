"""HTTP connections that cost the one who measures as little as possible.

One request at a time on a connection, as most clients of the API do it. A watch is not parsed: its lines are counted.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from fairway.client.kubeconfig import Connection as Place

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class AnswerError(Exception):
    """The server answered something that a measurement cannot go on with."""


def tls_of(place: Place) -> ssl.SSLContext:
    """The client's side of TLS, with the certificate of a kubeconfig."""
    context = ssl.create_default_context(cadata=place.certificate_authority.decode())
    with tempfile.TemporaryDirectory() as directory:
        identity = Path(directory) / "identity.pem"
        identity.touch(mode=0o600)
        identity.write_bytes(place.client_certificate + b"\n" + place.client_key)
        context.load_cert_chain(identity)
    return context


class Connection:
    """A connection that is kept: ``await connection.call("GET", path)``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext) -> Connection:
        # A list of 10,000 objects is some ten megabytes: with a small limit the reading side would set the pace.
        return cls(*await asyncio.open_connection(host, port, ssl=tls, limit=64 * 1024 * 1024))

    async def call(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        """The body of the answer; raises `AnswerError` unless it is a success."""
        self._writer.write(_request(method, path, content_type, len(body)) + body)
        head = await self._reader.readuntil(_HEAD_END)
        answer = await self._reader.readexactly(_length(head))
        if head[9:10] != b"2":
            raise AnswerError(f"{method} {path}: {head[9:12].decode()} {answer[:300].decode(errors='replace')}")
        return answer

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Watcher(asyncio.Protocol):
    """A watch whose lines are counted; ``on_lines`` is told of each piece with how many have ended in it."""

    def __init__(self, path: str, on_lines: Callable[[int], None]) -> None:
        self._path = path
        self._on_lines = on_lines
        self._head: bytes | None = b""
        self._brace = False  # the last piece ended between the brace and the end of the line
        self._transport: asyncio.Transport | None = None
        # What is wrong with the answer, empty if nothing is.
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_request("GET", self._path, "application/json", 0))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(_HEAD_END)
            if not end:
                return
            self._head = None
            if head[9:12] != b"200":
                self._started.set_result(f"answered {head[9:12].decode()}")
                return
            self._started.set_result("")
        # An event's line ends so, a chunk's never: JSON ends with a brace.
        lines = data.count(b"}\n") + (self._brace and data[:1] == b"\n")
        self._brace = data[-1:] == b"}" if data else self._brace
        if lines:
            self._on_lines(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._started.done():
            self._started.set_result("the server closed the connection")
        self._closed.set_result(None)

    async def started(self) -> None:
        """Wait for the first bytes of the answer; raises `AnswerError`."""
        problem = await self._started
        if problem:
            raise AnswerError(f"GET {self._path}: {problem}")

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            await self._closed


def _request(method: str, path: str, content_type: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: fairway\r\nUser-Agent: fairway-bench\r\nAccept: application/json\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise AnswerError("the answer has no Content-Length")
