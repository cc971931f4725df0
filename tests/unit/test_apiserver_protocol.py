"""Unit tests of `fairway.apiserver.protocol`, over a real socket: how long and how large a head may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from fairway.apiserver.protocol import HEAD_BYTES, Protocol

GET = b"GET / HTTP/1.1\r\nhost: x\r\n"


class Hasty(Protocol):
    patience = 0.05


class Firm(Protocol):
    """Whose client asks in time, also on a machine that falters."""

    patience = 1.0


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    kind: type[Protocol], served: Any = application
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config, state = uvicorn.Config(served, log_config=None), ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await asyncio.wait_for(reader.readexactly(length), 30)


async def test_who_says_nothing_is_cut_off() -> None:
    async with connected(Hasty) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 30) == b""


async def test_who_never_ends_their_headers_is_cut_off() -> None:
    async with connected(Hasty) as (reader, writer):
        writer.write(GET)
        assert await asyncio.wait_for(reader.read(), 30) == b""


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with connected(Protocol) as (reader, writer):
        writer.write(GET)
        for number in range(20):
            writer.write(b"x-%d: %s\r\n" % (number, b"a" * (HEAD_BYTES // 10)))
        found = await asyncio.wait_for(reader.readline(), 30)
        assert found == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


async def test_a_large_body_is_no_large_head_and_the_connection_goes_on() -> None:
    async with connected(Protocol) as (reader, writer):
        for size in (HEAD_BYTES * 5, 3, HEAD_BYTES * 2):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
            writer.write(b"b" * size)
            assert await answer(reader) == b"%d" % size


async def test_between_requests_there_is_time() -> None:
    async with connected(Firm) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert await answer(reader) == b"0"
        # Longer than its patience: an idle connection may stay, a half request may not.
        await asyncio.wait({asyncio.create_task(reader.read(1))}, timeout=1.2 * Firm.patience)
        assert not reader.at_eof()


async def test_a_head_whose_body_takes_its_time_is_sent_alone() -> None:
    more = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await more.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    async with connected(Protocol, slow) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        more.set()
        assert await asyncio.wait_for(reader.readexactly(2), 30) == b"ok"


async def test_the_application_can_ask_whether_the_body_is_there() -> None:
    async def asking(scope: Any, receive: Any, send: Any) -> None:
        here = scope["fairway.body_is_here"]()
        while (await receive()).get("more_body"):
            pass
        body = b"%d%d" % (here, scope["fairway.body_is_here"]())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": body})

    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n"
    async with connected(Protocol, asking) as (reader, writer):
        writer.write(head + b"abc")
        assert await answer(reader) == b"11"
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert await answer(reader) == b"01"


def whole(size: int) -> Any:
    """An application that hands its answers to the server as a whole, if it takes them."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        body = b"b" * size
        headers = b"content-length: %d\r\n" % size
        if not scope["fairway.answer"](200, headers, body):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
            await send({"type": "http.response.body", "body": body})

    return answering


async def test_a_whole_answer_is_one_and_the_connection_goes_on() -> None:
    async with connected(Protocol, whole(3)) as (reader, writer):
        for _ in range(3):
            writer.write(GET + b"\r\n")
            assert await answer(reader) == b"bbb"
        writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + GET + b"\r\n")
        assert b"content-length: 3" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert await answer(reader) == b"bbb"
        writer.write(GET + b"connection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"connection: close\r\n\r\nbbb")


async def test_who_asks_without_reading_is_not_answered_without_end() -> None:
    """The answers to many requests at once wait until they are read."""
    size, requests = 1024 * 1024, 64
    async with connected(Protocol, whole(size)) as (reader, writer):
        writer.write((GET + b"\r\n") * requests)
        for _ in range(requests):
            assert await answer(reader) == b"b" * size
