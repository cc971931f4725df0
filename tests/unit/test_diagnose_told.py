"""Unit tests of `fairway.diagnose.told`: a server on loopback, as a proxy's metrics port is one."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from fairway.diagnose.cluster import Cluster
from fairway.diagnose.told import Told, ask, mode_of_kube_proxy
from fairway.model.view import NodeSettings
from fairway.objects.cluster import Node
from fairway.objects.meta import ObjectMeta
from fairway.proxy.values import Bind
from fairway.proxy.web import WebServer, json_answer, text

SETTINGS = NodeSettings(name="node-1", addresses=("172.30.0.1",), masquerade_all=True, node_port_addresses=None)


async def asked(body: object) -> Told | None:
    answer = text(body) if isinstance(body, str) else json_answer(body)
    server = WebServer(Bind("127.0.0.1", 0), {"/status": lambda: answer})
    at = await server.start()
    try:
        return await asyncio.to_thread(ask, None, (at.host, at.port))
    finally:
        await server.close()


async def test_what_a_proxy_says_of_itself_is_believed() -> None:
    found = await asked({"mode": "nftables", "node": msgspec.to_builtins(SETTINGS)})
    assert found == Told(SETTINGS, "nftables")
    cluster = Cluster(nodes={"node-1": Node(metadata=ObjectMeta(name="node-1"))})
    assert not cluster.settings("node-1").masquerade_all
    cluster.told["node-1"] = SETTINGS
    assert cluster.settings("node-1").masquerade_all


@pytest.mark.parametrize("body", ["", "hello", {"node": 7}, {}])
async def test_whoever_else_answers_there_is_not(body: object) -> None:
    assert await asked(body) is None


@pytest.mark.parametrize("said, mode", [("iptables", "iptables"), ("ipvs\n", "ipvs"), ("<html>", ""), ("a b", "")])
async def test_kube_proxy_says_its_mode_and_anything_else_is_none(said: str, mode: str) -> None:
    server = WebServer(Bind("127.0.0.1", 0), {"/proxyMode": lambda: text(said)})
    at = await server.start()
    try:
        assert await asyncio.to_thread(mode_of_kube_proxy, (at.host, at.port)) == mode
    finally:
        await server.close()
