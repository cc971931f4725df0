"""`fairway proxy --proxy-mode ipvs` as a process, in a guest, against a real API server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.kernel.command import run
from fairway.kernel.links import Links
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.modes.ipvs.parts import DEVICE
from tests.kernel.proxy_world import VIP, Api, proxy, until

pytestmark = pytest.mark.vm


def test_a_proxy_follows_the_api_shows_what_it_counts_and_cleans_up(
    make_network: Callable[[Topology], RunningNetwork], tmp_path: Path
) -> None:
    network = make_network(cluster(nodes=1, pods=[("web-1", "node-1"), ("shell", "node-1")]))
    network.serve_all(ServedPort(8080))
    place, client = network.network.node("node-1"), network.client_from("shell")
    with Api(place, tmp_path) as api:
        api.node()
        api.service("web")
        api.endpoints("web", network.address("web-1"))
        flags = ("--proxy-mode=ipvs", "--cluster-cidr=10.244.0.0/16", "--ipvs-scheduler=lc")
        with proxy(place, api.kubeconfig, tmp_path / "proxy.log", *flags) as running:
            assert client.ask(VIP, 80).pod == "web-1"
            assert running.get("/proxyMode") == (200, "ipvs")
            samples = running.get("/metrics")[1].splitlines()
            counted = [one for one in samples if one.startswith("fairway_ipvs_connections{")]
            assert any('service="default/web"' in one and 'address="10.96.7.7"' in one for one in counted)
            live = running.status()["connections"]
            assert live["active"] + live["inactive"] >= 1
            assert live["draining"] == 0
            annotation = "fairway.dev/ipvs-scheduler"
            api.annotate("web", ipvs_scheduler="fastest")
            until(place, lambda: any(one[1] == "NotSupported" for one in api.events()), "its owner is told")
            (told,) = [text for name, reason, text in api.events() if (name, reason) == ("web", "NotSupported")]
            assert f"{annotation} must be one of rr, wrr" in told
            assert "not 'fastest'; it stays as it was" in told
            assert run(["ipvsadm", "-Sn"], namespace=place).count(f"-A -t {VIP}:80 -s lc") == 1
            assert client.ask(VIP, 80).pod == "web-1"
            api.delete("web")
            until(place, lambda: client.ask(VIP, 80, timeout=0.5).pod == "", "the Service is gone")
            assert running.stop() == 0
    run([sys.executable, "-m", "fairway.cli.main", "proxy", "--proxy-mode=ipvs", "--cleanup"], namespace=place)
    with Links(place) as links:
        assert DEVICE not in links.names()
