"""The transport over the network: aiohttp, with TLS, client certificates and tokens."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.client import _RequestContextManager

from fairway.client.failover import FailoverTransport
from fairway.client.identity import outdated, why_unknown
from fairway.client.kubeconfig import Connection, KubeconfigError, read_token
from fairway.client.observed import Exchange, ObservedTransport
from fairway.client.transport import Request, Response, ServerUnreachable, Transport, whole

# A server that vanished without a word is noticed after this: 15 s of silence, then three unanswered questions.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
CONNECT_SECONDS = 5.0
"""A server whose machine is gone answers nothing at all; there may be another one."""
# What goes wrong on the way.
_FAILURES = (aiohttp.ClientError, OSError)
# Turns of the event loop in which a transport notices that its socket has ended.
_TURNS_TO_CLOSE = 20


log = logging.getLogger(__name__)


def open_transport(connection: Connection, tell: Callable[[Exchange], None] | None = None) -> Transport:
    """The way to the server, or the servers, of a connection. Call it inside a running event loop.

    ``tell`` hears of every request to each of them.
    """
    made = [NetworkTransport(one) for one in connection.each]
    found: list[Transport] = [*made] if tell is None else [ObservedTransport(one, tell) for one in made]
    return found[0] if len(found) == 1 else FailoverTransport(found)


class NetworkTransport:
    """Talks to the first server of a `Connection`. Make it inside a running event loop, and close it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._token = _Token(connection)
        self._unknown = False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls_context(connection), limit=0, socket_factory=self._socket),
            auto_decompress=True,
            skip_auto_headers=("User-Agent",),
        )

    @property
    def server(self) -> str:
        return self._connection.server

    async def request(self, request: Request, *, timeout: float) -> Response:
        with self._translated(timeout):
            async with self._send(
                request, aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
            ) as answer:
                self._note(answer.status)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, headers, await answer.read())

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[_Answer]:
        with self._translated(timeout):
            async with asyncio.timeout(timeout):
                answer = await self._send(request, aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS))
        self._note(answer.status)
        try:
            yield _Answer(answer, self.server)
        finally:
            # Cut, not closed: a TLS connection would wait for the server's farewell, past the end of the event loop.
            if answer.connection is not None and answer.connection.transport is not None:
                answer.connection.transport.abort()
            answer.close()

    async def close(self) -> None:
        await self._session.close()
        # A connection whose request was cancelled still says farewell over TLS; the loop may end before the answer.
        for one in (left := [one for one in self._sockets if one.fileno() >= 0]):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS_TO_CLOSE):
            if all(one.fileno() < 0 for one in left):
                break
            await asyncio.sleep(0)

    def _socket(self, address: Any) -> socket.socket:
        made = _socket(address)
        self._sockets.add(made)
        return made

    @contextmanager
    def _translated(self, seconds: float) -> Iterator[None]:
        """Whatever goes wrong on the way inside is a `ServerUnreachable`."""
        try:
            yield
        except TimeoutError as error:
            raise ServerUnreachable(self.server, f"no answer within {seconds:g} s") from error
        except _FAILURES as error:
            raise ServerUnreachable(self.server, cause_of(error) + self._perhaps(error)) from error

    def _perhaps(self, error: Exception) -> str:
        """What may be behind a connection that ends without an answer."""
        if isinstance(error, aiohttp.ClientConnectorError) or not isinstance(error, aiohttp.ClientConnectionError):
            return ""
        if self.server.startswith("http://"):
            return " (its address begins with http://: is it https:// that it speaks?)"
        problem = outdated(self._connection.client_certificate, datetime.now(UTC))
        return f" (the client certificate in {self._connection.source} {problem})" if problem else ""

    def _note(self, status: int) -> None:
        """Of who is not known (401) every request is refused: the reason is told once."""
        unknown = status == HTTPStatus.UNAUTHORIZED
        if unknown and not self._unknown:
            why = why_unknown(self._connection, datetime.now(UTC))
            log.warning("the API server at %s does not know who is asking: %s", self.server, why)
        self._unknown = unknown

    def _send(self, request: Request, limits: aiohttp.ClientTimeout) -> _RequestContextManager:
        options: dict[str, Any] = {"timeout": limits, "allow_redirects": False}
        if self._connection.tls_server_name:
            options["server_hostname"] = self._connection.tls_server_name
        return self._session.request(
            request.method,
            self._connection.server.rstrip("/") + request.path,
            params=request.query,
            headers={**request.headers, **self._token.headers()},
            data=request.body or None,
            **options,
        )


class _Token:
    """The bearer token of a connection, read again when its file is another one."""

    def __init__(self, connection: Connection) -> None:
        self._text, self._file = connection.token, connection.token_file
        self._seen: tuple[int, int] | None = None

    def headers(self) -> dict[str, str]:
        if self._file is not None:
            self._look(self._file)
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def _look(self, file: Path) -> None:
        try:
            found = file.stat()
            if self._seen != (seen := (found.st_mtime_ns, found.st_ino)):
                data, self._seen = file.read_bytes(), seen
                # An empty file is one that is being written.
                self._text = read_token(data) or self._text
        except ValueError as error:
            log.warning("%s %s; the token read before is used", file, error)
        except OSError as error:
            # It may be replaced this very moment, and the old token is good for a while yet.
            log.debug("%s: %s; the token read before is used", file, error.strerror)


class _Answer:
    def __init__(self, answer: aiohttp.ClientResponse, server: str) -> None:
        self.status = answer.status
        self._content = answer.content
        self._server = server

    async def chunk(self) -> bytes:
        try:
            return await self._content.readany()
        except _FAILURES as error:
            raise ServerUnreachable(self._server, cause_of(error)) from error

    async def body(self) -> bytes:
        return await whole(self)


def tls_context(connection: Connection) -> ssl.SSLContext | bool:
    """The TLS settings of a connection; raises `KubeconfigError` for certificates and keys that cannot be read."""
    if not connection.server.startswith("https:"):
        return True
    try:
        authorities = connection.certificate_authority.decode() if connection.certificate_authority else None
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(connection.source, "certificate-authority", f"not a PEM certificate: {error}") from None
    # Several authorities of one name, or leaf certificates as authorities, are common in small clusters.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.client_certificate:
        _load_certificate(context, connection)
    return context


def _load_certificate(context: ssl.SSLContext, connection: Connection) -> None:
    """OpenSSL wants a file; one in memory keeps the key off the disk."""
    with open(os.memfd_create("client-certificate"), "wb") as file:
        file.write(connection.client_certificate + b"\n" + connection.client_key)
        file.flush()
        try:
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        except (ssl.SSLError, ValueError) as error:
            problem = f"the certificate and its key do not load: {error}"
            raise KubeconfigError(connection.source, "client-certificate", problem) from None


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def cause_of(error: Exception) -> str:
    """The reason in a few words: what the operating system or OpenSSL says, without the wrapping."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {getattr(error.certificate_error, 'verify_message', error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} does not resolve"
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        return "the connection broke off"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what it answers is not HTTP"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
