"""Unit tests of `fairway.client.failover`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fairway.client.failover import FailoverTransport
from fairway.client.kubeconfig import Connection
from fairway.client.network import open_transport
from fairway.client.transport import Request, Response, ServerUnreachable, Stream, Transport, whole

LIST, CREATE = Request("GET", "/api/v1/services"), Request("POST", "/api/v1/services")


@dataclass
class Body:
    """An answer that breaks off after its first bytes when ``breaks`` names a server."""

    breaks: str
    status: int = 200

    read: int = 0

    async def chunk(self) -> bytes:
        self.read += 1
        if self.read == 1:
            return b"one"
        if self.breaks:
            raise ServerUnreachable(self.breaks, "the connection broke off")
        return b""

    async def body(self) -> bytes:
        return await whole(self)


@dataclass
class Server:
    """A server that can be away."""

    server: str
    away: bool = False
    breaks: bool = False
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def _come(self, request: Request) -> None:
        self.asked.append(request.method)
        if self.away:
            raise ServerUnreachable(self.server, "connection refused")

    async def request(self, request: Request, *, timeout: float) -> Response:
        self._come(request)
        return Response(200, {}, self.server.encode())

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[Stream]:
        self._come(request)
        yield Body(self.server if self.breaks else "")

    async def close(self) -> None:
        self.closed = True


def pair(*, away: bool = False) -> tuple[Server, Server, Transport]:
    one, two = Server("https://one", away), Server("https://two")
    return one, two, FailoverTransport([one, two])


async def ask(transport: Transport, request: Request = LIST) -> str:
    return (await transport.request(request, timeout=30)).body.decode()


async def test_the_first_one_is_used_as_long_as_it_answers() -> None:
    _, two, both = pair()
    assert [await ask(both), await ask(both, CREATE)] == ["https://one"] * 2
    assert (two.asked, both.server) == ([], "https://one")


async def test_a_read_goes_to_the_next_one_and_everything_stays_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one, _, both = pair()
    await ask(both)
    one.away = True
    assert await ask(both) == "https://two"
    one.away = False
    assert [await ask(both), await ask(both, CREATE)] == ["https://two"] * 2
    assert both.server == "https://two"
    assert caplog.messages == ["the API server at https://one does not answer; using https://two"]


async def test_a_write_is_not_sent_twice_but_the_next_request_goes_elsewhere() -> None:
    _, two, both = pair(away=True)
    with pytest.raises(ServerUnreachable, match="https://one: connection refused"):
        await ask(both, CREATE)
    assert two.asked == []
    assert await ask(both, CREATE) == "https://two"


async def test_when_all_are_away_each_is_named_with_its_reason() -> None:
    one, two, both = pair(away=True)
    two.away = True
    with pytest.raises(ServerUnreachable) as caught:
        await ask(both)
    assert str(caught.value) == (
        "cannot reach the API server at https://one: connection refused; https://two: connection refused"
    )
    one.away = False
    assert await ask(both) == "https://one"


async def test_a_watch_moves_on_when_it_cannot_begin_and_when_it_breaks_off() -> None:
    one, two, both = pair(away=True)
    async with both.stream(LIST, timeout=30) as found:
        assert await found.body() == b"one"
    assert both.server == "https://two"
    two.breaks, one.away = True, False
    with pytest.raises(ServerUnreachable, match="https://two: the connection broke off"):
        async with both.stream(LIST, timeout=30) as found:
            await found.body()
    assert both.server == "https://one"


async def test_several_that_lose_one_server_do_not_skip_the_next() -> None:
    _, _, both = pair(away=True)
    assert await asyncio.gather(*(ask(both) for _ in range(3))) == ["https://two"] * 3
    assert both.server == "https://two"


async def test_all_are_closed() -> None:
    one, two, both = pair()
    await both.close()
    assert one.closed
    assert two.closed


async def test_a_connection_with_more_servers_has_a_way_to_each() -> None:
    connection = Connection("http://one:80", token="t", others=("http://two:80",))
    assert [(one.server, one.token, one.others) for one in connection.each] == [
        ("http://one:80", "t", ()),
        ("http://two:80", "t", ()),
    ]
    transport = open_transport(connection)
    assert isinstance(transport, FailoverTransport)
    assert transport.server == "http://one:80"
    await transport.close()
