"""Unit tests of `fairway.client.transport` and `fairway.client.asgi`."""

from __future__ import annotations

import asyncio

import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.transport import Lines, Request, ServerUnreachable
from tests.unit.scripted_server import Message, ScriptedServer


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_lines_are_whole_wherever_the_chunks_were_cut(size: int) -> None:
    text = b"one\ntwo\n\nthree three\nfour\n"
    lines = Lines()
    found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
    assert found == [b"one", b"two", b"three three", b"four"]


def test_a_line_without_its_end_is_held_back() -> None:
    lines = Lines()
    assert lines.feed(b"a\nb") == [b"a"]
    assert lines.feed(b"c") == []
    assert lines.feed(b"\n") == [b"bc"]


async def test_a_request_reaches_the_application_as_over_the_network() -> None:
    server = ScriptedServer()
    transport = AsgiTransport(server, {"Authorization": "Bearer x"})
    request = Request("POST", "/api/v1/a%2Fb", {"q": "a=b,c"}, {"Accept": "application/json"}, b"{}")
    sent = asyncio.create_task(transport.request(request, timeout=30))
    exchange = await server.next("POST /api/v1/a%2Fb")
    assert exchange.query == {"q": "a=b,c"}
    assert exchange.body == b"{}"
    assert exchange.headers["authorization"] == "Bearer x"
    await exchange.answer({"ok": 1}, 201)
    response = await sent
    assert (response.status, response.body) == (201, b'{"ok":1}')
    assert response.headers == {"content-type": "application/json"}


async def test_leaving_a_stream_tells_the_application() -> None:
    server = ScriptedServer()
    transport = AsgiTransport(server)
    request = Request("GET", "/watch")
    answering = asyncio.create_task(server.next("GET /watch"))
    answering.add_done_callback(lambda done: asyncio.ensure_future(done.result().begin()))
    async with asyncio.timeout(30):
        async with transport.stream(request, timeout=30) as stream:
            assert stream.status == 200
        await server.hung_up.wait()


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    server = ScriptedServer()
    sent = asyncio.create_task(AsgiTransport(server).request(Request("GET", "/"), timeout=30))
    exchange = await server.next("GET /")
    await exchange.begin()
    await exchange.write(b"half of")
    exchange.break_off()
    with pytest.raises(ServerUnreachable, match="the answer broke off"):
        await sent


async def test_an_application_that_crashes_is_named_as_the_cause() -> None:
    async def crash(scope: Message, *_: object) -> None:
        raise RuntimeError("no storage")

    with pytest.raises(ServerUnreachable, match=r"this process.*no storage"):
        await AsgiTransport(crash).request(Request("GET", "/"), timeout=30)


async def test_a_server_that_does_not_answer_is_waited_for_only_so_long() -> None:
    with pytest.raises(ServerUnreachable, match=r"no answer within 0\.01 s"):
        await AsgiTransport(ScriptedServer()).request(Request("GET", "/"), timeout=0.01)
