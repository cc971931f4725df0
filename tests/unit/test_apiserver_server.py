"""Unit tests of `fairway.apiserver.server`: the real server on loopback, as far as it differs from its application."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from pathlib import Path

import pytest

from fairway.apiserver.server import ApiServer
from fairway.apiserver.settings import Settings

pytestmark = pytest.mark.timeout(30)


def test_a_client_that_says_no_farewell_is_cut_off_when_the_server_ends(tmp_path: Path) -> None:
    """TLS wants an answer to the end of a connection; whoever is gone, or busy, never gives it."""

    def connect(port: int) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        return client

    async def meet() -> ssl.SSLSocket:
        async with ApiServer(Settings(data_directory=tmp_path, storage="memory", port=0)) as server:
            return await asyncio.to_thread(connect, server.port)

    with asyncio.Runner() as runner:
        client = runner.run(meet())
    gc.collect()  # whatever the loop has left open warns of it here
    with client:
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"ok")
