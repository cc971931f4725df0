"""Unit tests of `fairway.proxy.web`: real connections over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairway.kernel.contract import ApplyFailed
from fairway.proxy.values import Bind
from fairway.proxy.web import Answer, WebServer, text


@pytest.fixture
async def at() -> AsyncIterator[Bind]:
    server = WebServer(Bind("127.0.0.1", 0), {"/mode": lambda: text("nftables"), "/metrics": _refused})
    yield await server.start()
    await server.close()


def _refused() -> Answer:
    raise ApplyFailed("list table ip fairway: no such thing")


async def ask(at: Bind, request: bytes) -> tuple[str, str]:
    """Status line and body."""
    reader, writer = await asyncio.open_connection(at.host, at.port)
    try:
        writer.write(request)
        await writer.drain()
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return head.partition("\r\n")[0], body
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_page_is_answered_with_nothing_around_it(at: Bind) -> None:
    assert await ask(at, b"GET /mode HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "nftables")


async def test_a_query_does_not_matter_and_head_has_no_body(at: Bind) -> None:
    assert await ask(at, b"HEAD /mode?x=1 HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "")


async def test_an_unknown_page_names_those_that_exist(at: Bind) -> None:
    there = "no such page; there are: /metrics /mode\n"
    assert await ask(at, b"GET / HTTP/1.1\r\n\r\n") == ("HTTP/1.1 404 Not Found", there)


async def test_a_page_that_cannot_be_made_says_why(at: Bind, caplog: pytest.LogCaptureFixture) -> None:
    why = "list table ip fairway: no such thing"
    status, body = await ask(at, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert body == f"this page cannot be made now: {why}\n"
    assert [one.getMessage() for one in caplog.records] == [
        f"127.0.0.1:0 /metrics cannot be answered: ApplyFailed: {why}"
    ]


async def test_only_reading_is_possible(at: Bind) -> None:
    status, _ = await ask(at, b"POST /mode HTTP/1.1\r\n\r\n")
    assert status == "HTTP/1.1 405 Method Not Allowed"


async def test_an_endless_request_is_refused(at: Bind) -> None:
    status, _ = await ask(at, b"GET /" + b"a" * 40_000)
    assert status == "HTTP/1.1 431 Request Header Fields Too Large"


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n"])
async def test_garbage_gets_an_answer_and_the_next_one_too(at: Bind, garbage: bytes) -> None:
    status, _ = await ask(at, garbage)
    assert status.partition(" ")[2][:1] == "4"
    assert (await ask(at, b"GET /mode HTTP/1.1\r\n\r\n"))[1] == "nftables"


async def test_a_taken_port_is_an_error(at: Bind) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        await WebServer(at, {}).start()
