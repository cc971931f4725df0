"""Unit tests of `fairway.client.network`: over real sockets on the loopback device, with TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairway.client.kubeconfig import Connection, KubeconfigError
from fairway.client.network import NetworkTransport
from fairway.client.transport import Lines, Request, ServerUnreachable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@cache
def certificate() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that is its own authority, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(encoding), private


class Server:
    """Answers each request with what the test has prepared, and keeps what it was asked."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.asked: list[bytes] = []
        self.client_certificates: list[object] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            session = writer.get_extra_info("ssl_object")
            self.client_certificates.append(session.getpeercert() if session else None)
            for piece in self.pieces:
                await self.hold.wait()
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Connection]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    async with listening, asyncio.timeout(30):
        yield Connection(f"{'https' if context else 'http'}://127.0.0.1:{port}", token="secret")


@asynccontextmanager
async def connected(connection: Connection) -> AsyncIterator[NetworkTransport]:
    transport = NetworkTransport(connection)
    try:
        yield transport
    finally:
        await transport.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Of: Test\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_request_and_its_answer() -> None:
    server = Server(OK)
    async with serving(server) as connection, connected(connection) as transport:
        request = Request("POST", "/api/v1/a%2Fb", {"labelSelector": "a=b,c in (d)"}, {"Accept": "x/y"}, b"{}")
        answer = await transport.request(request, timeout=30)
    assert (answer.status, answer.body, answer.headers["x-of"]) == (200, b"ok", "Test")
    line, *headers = server.asked[0].decode().split("\r\n")
    assert line == "POST /api/v1/a%2Fb?labelSelector=a%3Db,c+in+(d) HTTP/1.1"
    assert "Authorization: Bearer secret" in headers
    assert "Accept: x/y" in headers


async def test_a_token_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    server, file = Server(OK), tmp_path / "token"
    file.write_text("first\n")
    async with serving(server) as connection:
        rotating = replace(connection, token="first", token_file=file)
        async with connected(rotating) as transport:
            await transport.request(Request("GET", "/"), timeout=30)
            (tmp_path / "next").write_text("second\n")
            (tmp_path / "next").replace(file)
            await transport.request(Request("GET", "/"), timeout=30)
            file.unlink()
            await transport.request(Request("GET", "/"), timeout=30)
    tokens = [asked.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0] for asked in server.asked]
    assert tokens == [b"first", b"second", b"second"]


async def test_a_file_that_comes_to_hold_no_token_is_told_of_once_and_the_old_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, file = Server(OK), tmp_path / "token"
    file.write_bytes(b"first")
    async with (
        serving(server) as connection,
        connected(replace(connection, token="first", token_file=file)) as transport,
    ):
        for rubbish in (b"\xff\xfe\x00", b"a\nX-Injected: b", "schl\u00fcssel".encode()):
            (tmp_path / "next").write_bytes(rubbish)
            (tmp_path / "next").replace(file)
            await transport.request(Request("GET", "/"), timeout=30)
            await transport.request(Request("GET", "/"), timeout=30)
    tokens = [asked.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0] for asked in server.asked]
    assert tokens == [b"first"] * 6
    wrong = "holds no token: letters, digits and signs of ASCII, without spaces; the token read before is used"
    assert [one.getMessage() for one in caplog.records] == [f"{file} {wrong}"] * 3


async def _read(transport: NetworkTransport, found: list[bytes]) -> None:
    lines = Lines()
    async with transport.stream(Request("GET", "/watch"), timeout=30) as stream:
        assert stream.status == 200
        while chunk := await stream.chunk():
            found += lines.feed(chunk)


async def test_a_stream_gives_what_has_come_before_it_breaks_off() -> None:
    server, found = Server(STREAM + b"4\r\none\n\r\n", b"4\r\ntwo\n\r\n"), list[bytes]()
    async with serving(server) as connection, connected(connection) as transport:
        with pytest.raises(ServerUnreachable, match=r"at http://127.0.0.1:\d+: the connection broke off"):
            await _read(transport, found)
    assert found == [b"one", b"two"]


async def test_a_long_line_comes_whole() -> None:
    line = b"x" * 3_000_000
    server = Server(STREAM, f"{len(line) + 1:x}\r\n".encode() + line + b"\n\r\n0\r\n\r\n")
    async with serving(server) as connection, connected(connection) as transport:
        found = list[bytes]()
        await _read(transport, found)
    assert found == [line]


async def test_a_redirect_is_not_followed() -> None:
    server = Server(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n")
    async with serving(server) as connection, connected(connection) as transport:
        assert (await transport.request(Request("GET", "/"), timeout=30)).status == 302


async def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        async with connected(Connection(url)) as transport:
            with pytest.raises(ServerUnreachable, match=f"cannot reach the API server at {url}: connection refused"):
                await transport.request(Request("GET", "/"), timeout=30)


async def test_who_is_not_known_is_told_once_why_that_may_be(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    async with serving(server) as connection, connected(replace(connection, token="old", source="node.conf")) as one:
        for _ in range(2):
            assert (await one.request(Request("GET", "/api"), timeout=30)).status == 401
        async with one.stream(Request("GET", "/api"), timeout=30) as answer:
            assert answer.status == 401
    (line,) = caplog.messages
    assert line.endswith("does not know who is asking: it does not take the token in node.conf")


async def test_an_answer_that_never_comes_over_http_may_be_one_in_tls() -> None:
    async with serving(Server()) as connection, connected(connection) as transport:
        with pytest.raises(ServerUnreachable, match="is it https:// that it speaks"):
            await transport.request(Request("GET", "/api"), timeout=30)


async def test_a_server_that_says_nothing_is_waited_for_only_so_long() -> None:
    server = Server(OK)
    server.hold.clear()
    async with serving(server) as connection, connected(connection) as transport:
        with pytest.raises(ServerUnreachable, match=r"no answer within 0\.05 s"):
            await transport.request(Request("GET", "/"), timeout=0.05)
        with pytest.raises(ServerUnreachable, match=r"no answer within 0\.05 s"):
            async with transport.stream(Request("GET", "/"), timeout=0.05):
                raise AssertionError("there is no answer")
        server.hold.set()


def _server_context(tmp_path: Path, *, ask: bool = False) -> ssl.SSLContext:
    (tmp_path / "pem").write_bytes(b"\n".join(certificate()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=certificate()[0].decode())
    return context


async def test_the_servers_certificate_must_be_of_the_authority(tmp_path: Path) -> None:
    async with serving(Server(OK), _server_context(tmp_path)) as connection:
        async with connected(connection) as transport:
            with pytest.raises(ServerUnreachable, match="its certificate is not trusted: self-signed certificate"):
                await transport.request(Request("GET", "/"), timeout=30)
        for trusting in (
            replace(connection, certificate_authority=certificate()[0]),
            replace(connection, insecure=True),
        ):
            async with connected(trusting) as transport:
                assert (await transport.request(Request("GET", "/"), timeout=30)).body == b"ok"


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    public, private = certificate()
    server = Server(OK)
    async with serving(server, _server_context(tmp_path, ask=True)) as connection:
        ours = replace(connection, certificate_authority=public, client_certificate=public, client_key=private)
        async with connected(ours) as transport:
            assert (await transport.request(Request("GET", "/"), timeout=30)).status == 200
    assert isinstance(server.client_certificates[0], dict)
    assert server.client_certificates[0]["subject"] == ((("commonName", "test"),),)


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"certificate_authority": b"nonsense"}, "a.conf: certificate-authority: not a PEM certificate"),
        ({"client_certificate": b"x", "client_key": b"y"}, "a.conf: client-certificate: the certificate and its key"),
    ],
)
async def test_certificates_that_cannot_be_read(broken: dict[str, bytes], message: str) -> None:
    with pytest.raises(KubeconfigError, match=message):
        NetworkTransport(Connection("https://127.0.0.1", source="a.conf", **broken))  # type: ignore[arg-type]
