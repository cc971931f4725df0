"""A real kube-proxy at our API server, and in the benches, where FAIRWAY_KUBE_BINARIES names a folder with one.

kube-apiserver's place: fairway apiserver ◀── lists, watches, Events ── kube-proxy ──▶ kernel ──▶ pods web-1, web-2
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairway.bench import answering
from fairway.bench.datapath import Traffic, measure
from fairway.bench.process import Program
from fairway.bench.shape import Shape
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.objects.codec import Document
from fairway.objects.resources import ENDPOINTS
from tests.kernel.proxy_world import NODE, VIP, Api, nft
from tests.reference_programs import program, version

pytestmark = pytest.mark.kernel

# The limits of connection tracking are the whole machine's; a test does not touch them.
_OURS_TO_CHOOSE = "--conntrack-max-per-core=0 --iptables-min-sync-period=0s"
_PATIENCE = 60.0


def command() -> Program:
    path = program("kube-proxy")
    places = "--kubeconfig {kubeconfig} --hostname-override {node} --cluster-cidr {cluster-cidr}"
    return Program(command=f"{path} {places} {_OURS_TO_CHOOSE}")


@pytest.fixture
def node(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    made = make_network(cluster(nodes=1, pods=[(name, NODE) for name in ("web-1", "web-2", "shell")]))
    for name in ("web-1", "web-2"):
        made.serve(name, ServedPort(8080))
    nft(made.network.place(NODE), "flush", "ruleset")
    return made


@contextmanager
def kube_proxy(place: NetworkNamespace, kubeconfig: Path, log: Path) -> Iterator[Callable[[], str]]:
    """Running in that place until the end of the block; gives what it has said."""
    path = program("kube-proxy")
    flags = [f"--kubeconfig={kubeconfig}", f"--hostname-override={NODE}", "--cluster-cidr=10.244.0.0/16"]
    if version(path) < (1, 21):
        flags.append("--feature-gates=EndpointSliceProxying=false")  # it knows slices by an older name only
    with log.open("wb") as output:
        words = [str(path), *flags, *_OURS_TO_CHOOSE.split()]
        process = place.run(lambda: subprocess.Popen(words, stdout=output, stderr=output))
    try:
        yield log.read_text
    finally:
        process.terminate()
        process.wait(10)


def endpoints(api: Api, *addresses: str) -> None:
    """What a Service's backends are, in both of its forms."""
    api.endpoints("web", *addresses)
    document: Document = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": one} for one in addresses], "ports": [{"port": 8080}]}],
    }
    api.call(lambda client: client.replace(ENDPOINTS, document))


def until_answers(node: RunningNetwork, expected: set[str], said: Callable[[], str]) -> None:
    client, give_up = node.client_from("shell"), time.monotonic() + _PATIENCE
    found: set[str] | None = None
    while found != expected:
        assert time.monotonic() < give_up, f"{found} instead of {expected}; kube-proxy said:\n{said()[-3000:]}"
        answers = [client.ask(VIP, 80, timeout=0.5) for _ in range(16)]
        found = {one.pod for one in answers if one.pod}


def test_it_follows_our_api_server(node: RunningNetwork, tmp_path: Path) -> None:
    place = node.network.place(NODE)
    web = [node.address(name) for name in ("web-1", "web-2")]
    with Api(place, tmp_path / "api") as api:
        api.node()
        api.service("web")
        endpoints(api, *web)
        with kube_proxy(place, api.kubeconfig, tmp_path / "kube-proxy.log") as said:
            until_answers(node, {"web-1", "web-2"}, said)
            endpoints(api, web[1])
            until_answers(node, {"web-2"}, said)
            api.delete("web")
            until_answers(node, set(), said)
            for complaint in ("Failed to watch", "failed to list", "Server rejected event", "unable to decode"):
                assert complaint not in said()


def test_both_benches_measure_it_beside_ours() -> None:
    ours, theirs = Program(mode="nftables"), command()
    said: list[str] = []
    packets = measure([ours, theirs], [3], Traffic(connections=100, seconds=0.1, iperf3=""), said.append)
    assert [one["proxy"] for one in packets["proxies"]] == [str(ours), str(theirs)]
    for proxy in packets["proxies"]:
        assert all(times["p50"] > 0 for times in proxy["sizes"][0]["connect_seconds"].values())
    found = answering.measure(Shape(services=3, backends=2), 4, theirs, said.append)
    assert found["proxy"] == str(theirs)
    assert 0 < found["change_seconds"]["p50"] <= found["change_seconds"]["max"]
