"""`fairway status`: the words for what /status says, and what is said when nobody answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fairway.cli.main import run

STATUS: dict[str, Any] = {
    "mode": "nftables",
    "ready": True,
    "healthy": True,
    "tables": {"owned": True, "why": ""},
    "node": {"name": "node-1"},
    "notes": ["--cluster-cidr is not set"],
    "rememberedFrom": None,
    "services": 2,
    "endpointSlices": 3,
    "frontends": {"cluster IP": 2, "other ports": 2},
    "problems": [
        {
            "service": "shop/web",
            "endpointSlice": None,
            "field": "spec.externalIPs[0]",
            "message": "'x' is no IP address",
        },
        {"service": "shop/web", "endpointSlice": "web-1", "field": None, "message": "and 3 more of the kind"},
    ],
    "rounds": [
        {"kind": "start", "at": "2026-01-01T00:00:00.000000Z", "seconds": 0.0123, "commands": 8, "frontends": 4},
        {
            "kind": "repair",
            "at": "2026-01-01T00:00:00.500000Z",
            "seconds": 0.009,
            "commands": 2,
            "frontends": 0,
            "by": "nft (pid 123)",
        },
    ],
    "receipts": [
        {
            "kind": "EndpointSlice",
            "object": "shop/web-1",
            "resourceVersion": "12",
            "at": "2026-01-01T00:00:01.000000Z",
            "seconds": 0.0004,
            "commands": 2,
        }
    ],
}


class Proxy:
    """Answers every request with its status, at a port of its own."""

    def __init__(self) -> None:
        self.status = dict(STATUS)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                made, _ = self.listener.accept()
            except OSError:
                return
            with made:
                made.recv(1000)
                made.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(self.status).encode())


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    made.thread.start()
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()
    made.thread.join(30)


def test_everything_is_said_in_words(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--metrics-address", proxy.address]) == 0
    assert capsys.readouterr().out == (
        "node node-1: nftables mode, healthy\n"
        "  2 Services, 3 EndpointSlices; frontends: 2 cluster IP, 2 other ports\n"
        "  tables owned: the kernel lets nobody else change them\n"
        "last rounds:\n"
        "  2026-01-01T00:00:00.000000Z  start     12.30 ms  8 commands, 4 frontends\n"
        "  2026-01-01T00:00:00.500000Z  repair     9.00 ms  2 commands, 0 frontends, after nft (pid 123)\n"
        "last receipts:\n"
        "  2026-01-01T00:00:01.000000Z     0.40 ms  EndpointSlice shop/web-1 at 12\n"
        "problems:\n"
        "  Service shop/web: spec.externalIPs[0]: 'x' is no IP address\n"
        "  Service shop/web, EndpointSlice web-1: and 3 more of the kind\n"
        "notes:\n"
        "  --cluster-cidr is not set\n"
    )


def test_connections_that_the_kernel_knows_are_told(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.status["connections"] = {"active": 7, "inactive": 2, "draining": 1}
    assert run(["status", "--metrics-address", proxy.address]) == 0
    assert "  connections: 7 active, 2 inactive; 1 backends are draining\n" in capsys.readouterr().out


def test_json_has_all_of_it(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--metrics-address", proxy.address, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"proxies": [STATUS]}


def test_a_proxy_that_is_not_well_is_exit_code_1(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.status |= {"healthy": False, "ready": False, "rememberedFrom": "2026-01-01T00:00:00Z"}
    proxy.status["tables"] = {"owned": False, "why": "table ip belongs to nft (pid 7)"}
    assert run(["status", "--metrics-address", proxy.address]) == 1
    out = capsys.readouterr().out
    assert "  tables not owned: table ip belongs to nft (pid 7)\n" in out
    assert "NOT healthy, the kernel has not acknowledged everything yet" in out
    assert "this is what was known at 2026-01-01T00:00:00Z" in out


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["--metrics-address", "here"], 2, "--metrics-address: 'here' is no IP address and port"),
        (["no-such-node"], 2, "no lab on this machine has a node 'no-such-node'"),
    ],
)
def test_a_question_that_makes_no_sense_is_told(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", *arguments]) == code
    assert words in capsys.readouterr().err
