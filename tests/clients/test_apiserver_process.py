"""``fairway apiserver`` as a process: how it says that it is ready, how it stops, what it says when it cannot start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from fairway.apiserver.certificates import Authority
from tests.unit.api_calls import service

pytestmark = pytest.mark.clients

TIMEOUT = 30
SERVICES = "/api/v1/namespaces/default/services"


@dataclass
class Server:
    process: asyncio.subprocess.Process
    url: str
    tls: ssl.SSLContext

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(ssl=self.tls))

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.communicate(), TIMEOUT)
        assert self.process.returncode is not None
        return self.process.returncode


async def spawn(*arguments: str, descriptors: tuple[int, ...] = ()) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairway", "apiserver", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=descriptors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def trusted(directory: Path, *, client: bool = True) -> ssl.SSLContext:
    """A client's TLS: it trusts the server's authority, and shows a certificate of it."""
    authority = Authority(directory / "pki")
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    if client:
        identity = authority.client("tester", ["system:masters"])
        (directory / "tester.pem").write_bytes(identity.certificate + identity.key)
        context.load_cert_chain(directory / "tester.pem")
    return context


Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Server] = []

    async def run(*arguments: str, descriptors: tuple[int, ...] = ()) -> Server:
        process = await spawn("--data-dir", str(tmp_path), "--secure-port", "0", *arguments, descriptors=descriptors)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), TIMEOUT)).decode()
        match = re.search(r"ready on (https://\S+);", line)
        assert match, line
        server = Server(process, match[1], trusted(tmp_path))
        started.append(server)
        return server

    yield run
    for server in started:
        if server.process.returncode is None:
            await server.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_cleanly_with_an_open_watch(start: Start, number: signal.Signals) -> None:
    server = await start()
    async with server.session() as session, session.get(f"{SERVICES}?watch=1") as watch:
        assert b'"ADDED"' in await watch.content.readline()
        assert await server.end(number) == 0
        assert await watch.content.read() == b""


async def test_what_was_acknowledged_survives_a_kill(start: Start) -> None:
    first = await start()
    async with first.session() as session, session.post(SERVICES, json=service("web")) as response:
        created = await response.json()
    await first.end(signal.SIGKILL)
    second = await start()
    async with second.session() as session:
        async with session.get(f"{SERVICES}/web") as response:
            assert await response.json() == created
        taken = service("thief", clusterIP=created["spec"]["clusterIP"])
        async with session.post(SERVICES, json=taken) as response:
            assert response.status == 422
        since = created["metadata"]["resourceVersion"]
        async with session.get(f"{SERVICES}?watch=1&resourceVersion={since}") as watch:
            async with session.post(SERVICES, json=service("next")) as response:
                assert response.status == 201
            assert b'"next"' in await watch.content.readline()


async def test_it_serves_inherited_sockets_and_says_when_it_is_ready(start: Start) -> None:
    ready, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.2", 0)) as two:
        flags = ("--listen-fd", str(one.fileno()), "--listen-fd", str(two.fileno()), "--ready-fd", str(writing))
        server = await start(*flags, descriptors=(one.fileno(), two.fileno(), writing))
        os.close(writing)
        with os.fdopen(ready, "rb") as notified:
            assert notified.read() == b"ready\n"
        async with server.session() as session:
            for host, port in (one.getsockname(), two.getsockname()):
                async with session.get(f"https://{host}:{port}{SERVICES}") as response:
                    assert response.status == 200


async def test_who_shows_no_certificate_sees_only_the_health(start: Start, tmp_path: Path) -> None:
    server = await start()
    stranger = Server(server.process, server.url, trusted(tmp_path, client=False))
    async with stranger.session() as session:
        for path, status in (("/healthz", 200), ("/livez", 200), ("/readyz", 200), ("/version", 200)):
            async with session.get(path) as response:
                assert response.status == status
        for path in ("/", "/api", "/openapi/v3", SERVICES, "/nowhere"):
            async with session.get(path) as response:
                assert response.status == 403
                assert (await response.json())["reason"] == "Forbidden"


async def test_a_certificate_of_another_authority_gets_nobody_in(start: Start, tmp_path: Path) -> None:
    server = await start()
    forged = Authority(tmp_path / "forger").client("tester", ["system:masters"])
    context = trusted(tmp_path, client=False)
    (tmp_path / "forged.pem").write_bytes(forged.certificate + forged.key)
    context.load_cert_chain(tmp_path / "forged.pem")
    async with Server(server.process, server.url, context).session() as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(SERVICES)


async def refused(*arguments: str) -> str:
    """What a server that cannot start says; without a traceback."""
    process = await spawn(*arguments)
    _, error = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert process.returncode not in (0, None)
    assert b"Traceback" not in error
    return error.decode()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await refused("--data-dir", str(tmp_path), "--secure-port", port)
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in said


async def test_a_data_directory_in_use_is_named(start: Start, tmp_path: Path) -> None:
    await start()
    assert "in use by another process" in await refused("--data-dir", str(tmp_path), "--secure-port", "0")


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 1000)
    said = await refused("--data-dir", str(tmp_path), "--secure-port", "0")
    assert "state.db is not a SQLite database; move it away" in said


async def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = await refused("--data-dir", str(tmp_path / "file"), "--secure-port", "0")
    assert "cannot use the data directory" in said


@pytest.mark.parametrize(
    "flag, value, message",
    [
        ("--bind-address", "localhost", "is not an IP address"),
        ("--secure-port", "70000", "is not a port"),
        ("--advertise-address", "0.0.0.0", "no address that a node can reach"),
        ("--service-cluster-ip-range", "10.96.0.0", "10.96.0.0"),
        ("--service-cluster-ip-range", "10.0.0.0/16,10.1.0.0/16", "at most one of each IP family"),
        ("--service-node-port-range", "9-1", "9-1"),
        ("--listen-fd", "77", "is not a socket"),
    ],
)
async def test_a_flag_that_makes_no_sense_is_named(tmp_path: Path, flag: str, value: str, message: str) -> None:
    # A flag given twice would be another error, so the port is only given where it is not what is tested.
    port = () if flag == "--secure-port" else ("--secure-port", "0")
    assert message in await refused("--data-dir", str(tmp_path), *port, flag, value)
