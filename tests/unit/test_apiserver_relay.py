"""Unit tests of `fairway.apiserver.relay`: real sockets on loopback, this test as the client and as the endpoint."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.certificates import Authority
from fairway.apiserver.forwarding import Place, Way
from fairway.apiserver.relay import check_relayable, relay
from fairway.apiserver.requests import Request
from fairway.objects.status import ApiError

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WAY = Way("services", "shop", "cart:80", "/page%2F1")
PREFIX = "/api/v1/namespaces/shop/services/cart:80/proxy"
PATIENCE = 30


class Client:
    """One request of a client: what it has sent, and what has come back so far."""

    def __init__(self, method: str = "GET", *headers: tuple[str, str], query: str = "") -> None:
        fields = [(name.encode(), value.encode()) for name, value in (("host", "api.example:6443"), *headers)]
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": PREFIX,
            "query_string": query.encode(),
            "headers": fields,
            "client": ("192.0.2.7", 4711),
        }
        self.sends: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.got = asyncio.Event()

    def say(self, body: bytes, *, more: bool = False) -> None:
        self.sends.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        self.sends.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")
        self.got.set()

    async def through(self, port: int, scheme: str = "http") -> int:
        request = Request(self.scope, self.sends.get)
        place = Place(scheme, "127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            return await relay(request, WAY, place, self.sends.get, self._send)


@asynccontextmanager
async def endpoint(talk: Talk) -> AsyncIterator[int]:
    """An endpoint that speaks raw HTTP; gives its port."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(answer: bytes, heads: list[bytes]) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return talk


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}


async def test_the_endpoint_gets_the_request_without_the_clients_credentials() -> None:
    heads: list[bytes] = []
    client = Client(
        "GET",
        ("authorization", "Bearer secret"),
        ("impersonate-user", "ann"),
        ("connection", "x-mine, keep-alive"),
        ("x-mine", "hop"),
        ("accept", "text/html"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "198.51.100.1"),
        query="q=a%20b&x=/",
    )
    client.say(b"")
    async with endpoint(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-more: yes\r\n\r\nhi", heads)) as port:
        assert await client.through(port) == 200
    assert heads[0].startswith(b"GET /page%2F1?q=a%20b&x=/ HTTP/1.1\r\n")
    fields = fields_of(heads[0])
    assert not {"authorization", "impersonate-user", "x-mine", "user-agent"} & set(fields)
    assert fields["host"] == fields["x-forwarded-host"] == "api.example:6443"
    assert (fields["accept"], fields["cookie"]) == ("text/html", "a=b")
    assert fields["x-forwarded-for"] == "198.51.100.1, 192.0.2.7"
    assert (fields["x-forwarded-proto"], fields["x-forwarded-uri"]) == ("https", f"{PREFIX}/page%2F1")
    assert (client.status, client.body) == (200, b"hi")
    assert (b"x-more", b"yes") in client.headers


async def test_a_body_streams_both_ways_before_either_has_ended() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while (size := int(await reader.readline(), 16)) > 0:
            echoed = await reader.readexactly(size)
            await reader.readline()
            writer.write(b"%x\r\n%s\r\n" % (size, echoed))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    client = Client("POST", ("transfer-encoding", "chunked"))
    client.say(b"one ", more=True)
    async with endpoint(talk) as port, asyncio.timeout(PATIENCE):
        going = asyncio.create_task(client.through(port))
        while client.body != b"one ":
            await client.got.wait()
            client.got.clear()
        client.say(b"two")
        assert await going == 200
    assert client.body == b"one two"


async def test_a_client_that_goes_away_ends_an_endless_answer() -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await reader.read()
        ended.set()
        writer.close()

    client = Client()
    client.say(b"")
    async with endpoint(talk) as port, asyncio.timeout(PATIENCE):
        going = asyncio.create_task(client.through(port))
        while client.body != b"first":
            await client.got.wait()
            client.got.clear()
        client.hang_up()
        assert await going == 499
        await ended.wait()


async def test_an_endpoint_that_speaks_tls_is_reached_whatever_its_certificate_says(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "pki").server({"elsewhere.example"})
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    client, talk = Client(), answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", [])
    client.say(b"")
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    async with server:
        assert await client.through(server.sockets[0].getsockname()[1], scheme="https") == 200
    assert client.body == b"hi"


@pytest.mark.parametrize(
    "target, seen",
    [
        ("/login", f"{PREFIX}/login"),
        ("HERE/login?a=b", f"{PREFIX}/login?a=b"),
        ("HERE", f"{PREFIX}/"),
        ("login", "login"),
        ("https://elsewhere.example/", "https://elsewhere.example/"),
        ("//elsewhere.example/", "//elsewhere.example/"),
    ],
)
async def test_a_redirect_within_the_endpoint_leads_through_the_server(target: str, seen: str) -> None:
    client, here = Client(), ""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = target.replace("HERE", here).encode()
        writer.write(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: %s\r\n\r\n" % location)
        await writer.drain()
        writer.close()

    client.say(b"")
    async with endpoint(talk) as port:
        here = f"http://127.0.0.1:{port}"
        assert await client.through(port) == 302
    assert (b"location", seen.encode()) in client.headers


@pytest.mark.reference("5.7 proxy")
async def test_an_endpoint_that_nobody_listens_at_is_a_503() -> None:
    async with endpoint(answering(b"", [])) as port:
        pass
    client = Client()
    client.say(b"")
    with pytest.raises(ApiError, match=f"error trying to reach service: 127.0.0.1:{port}: ") as refused:
        await client.through(port)
    assert (refused.value.code, refused.value.reason) == (503, "ServiceUnavailable")
    assert refused.value.message.endswith("connection refused")


@pytest.mark.parametrize(
    "answer, words", [(b"", "the connection broke off"), (b"no http\r\n\r\n", "what it answers is not HTTP")]
)
async def test_an_endpoint_that_does_not_speak_http_is_a_503(answer: bytes, words: str) -> None:
    client = Client()
    client.say(b"")
    async with endpoint(answering(answer, [])) as port:
        with pytest.raises(ApiError, match=f"error trying to reach service: .*: {words}"):
            await client.through(port)
    assert client.status == 0


async def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    client = Client()
    client.say(b"")
    async with endpoint(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", [])) as port:
        with pytest.raises(ApiError):
            await client.through(port)
    assert client.body == b"half"


def test_an_upgrade_is_refused_with_the_reason() -> None:
    client = Client("GET", ("connection", "Upgrade"), ("upgrade", "websocket"))
    with pytest.raises(ApiError, match="the upgrade to websocket is not served") as refused:
        check_relayable(Request(client.scope, client.sends.get))
    assert refused.value.code == 501
