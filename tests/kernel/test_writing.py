"""A proxy is killed while its tool writes: the tool ends what it has begun, and only then does the next proxy read."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.client.kubeconfig import Connection, write_kubeconfig
from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.writing import NAME
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from tests.kernel.gated_tool import Gate
from tests.kernel.proxy_world import NODE, PATIENCE, VIP, Api, nft, proxy, until

pytestmark = pytest.mark.kernel

SECOND_VIP = "10.96.7.8"


def test_the_next_proxy_waits_for_the_tool_of_a_killed_one_and_reads_what_it_left(
    make_network: Callable[[Topology], RunningNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network(cluster(nodes=1, pods=[("one", NODE)]))
    place = network.network.place(NODE)
    nft(place, "flush", "ruleset")
    gate = Gate(tmp_path, monkeypatch)
    flags = ("--proxy-mode=iptables", "--iptables-variant=nft")
    with Api(place, tmp_path) as api:
        api.node()
        api.service("web")
        api.endpoints("web", network.address("one"))
        with proxy(place, api.kubeconfig, tmp_path / "first.log", *flags) as first:
            gate.close()
            api.service("short", SECOND_VIP)
            gate.wait()
            first.kill()
        api.delete("short")
        with proxy(place, api.kubeconfig, tmp_path / "second.log", *flags, ready=False) as second:
            until(place, lambda: "waiting for its end" in second.said(), "it waits for the tool")
            assert "is still writing what a proxy before has told it" in second.said()
            assert SECOND_VIP not in run(["iptables-nft-save"], namespace=place)
            gate.open()
            until(place, lambda: "ready in" in second.said(), "it is ready")
            there = run(["iptables-nft-save"], namespace=place)
            assert (VIP in there, SECOND_VIP in there) == (True, False)
            # The tool had written it: the next proxy has seen that, and taken it away.
            assert "it held all of it already" not in second.said()


def test_a_proxy_that_waits_for_a_tool_can_be_interrupted(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(write_kubeconfig(Connection("http://127.0.0.1:9")))
    with namespaces.created(f"fwt-writing-{os.getpid()}") as place, place.socket(socket.AF_UNIX) as tool:
        tool.bind(NAME)
        tool.listen()
        with proxy(place, kubeconfig, tmp_path / "log", ready=False) as waiting:
            until(place, lambda: "waiting for its end" in waiting.said(), "it waits for the tool")
            waiting.process.send_signal(signal.SIGINT)
            assert waiting.process.wait(PATIENCE) == 130
            assert waiting.said().count("\n") == 1
