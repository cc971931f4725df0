"""`fairway up` as a user meets it: the real process on a machine of its own (a namespace), driven with kubectl."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairway.kernel.command import CommandFailed, run
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace, created
from fairway.lab.ports import ServedPort
from fairway.lab.probe import ask
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from tests.kernel.proxy_world import PATIENCE, Conversation, nft, until

pytestmark = [pytest.mark.clients, pytest.mark.kernel]

MACHINE, ADDRESS, VIP = "node-1", "172.30.0.1", "10.96.7.7"

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.7.7
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: ENDPOINTS
"""


def web(*addresses: str) -> str:
    """The manifest of a Service without a selector, and where its backends are."""
    return WEB.replace("ENDPOINTS", json.dumps([{"addresses": [one]} for one in addresses]))


@dataclass
class Up:
    """A `fairway up` that is ready."""

    process: subprocess.Popen[str]
    place: NetworkNamespace
    said: dict[str, Any]

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        where = ["kubectl", "--kubeconfig", self.said["kubeconfig"]]
        return run([*where, *arguments], namespace=self.place, input=given)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", "-", given=manifest)

    def answers(self, address: str = VIP, port: int = 80, *, patience: float = PATIENCE) -> set[str]:
        """Who answers there, asked so often that each of two would be heard."""
        found = (ask(self.place, address, port, timeout=patience) for _ in range(32))
        return {one.pod or one.result for one in found}

    def until_answers(self, *names: str) -> None:
        until(self.place, lambda: self.answers(patience=1.0) == set(names), f"{names} answer at {VIP}")

    def interrupt(self) -> None:
        """Ctrl-C, until it has left."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0


def command(data: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "fairway.cli.main", "up", f"--data-dir={data}", *flags]


def launch(place: NetworkNamespace, *words: str) -> subprocess.Popen[str]:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return place.run(start)


@contextmanager
def up(place: NetworkNamespace, data: Path, *flags: str) -> Iterator[Up]:
    """Run it there until the block ends, when it is killed if it still runs."""
    with launch(place, *command(data, "--output=json", *flags)) as process:
        try:
            assert process.stdout
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line == "}\n":
                    break
            else:
                assert process.stderr
                pytest.fail(f"it ended without being ready: {process.stderr.read()}")
            yield Up(process, place, json.loads("".join(lines)))
        finally:
            process.kill()


def refusal(place: NetworkNamespace, *words: str) -> str:
    """What it says on stderr when it cannot start."""
    with launch(place, *words) as process:
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        return said


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    made = make_network(cluster(nodes=1, pods=[(name, MACHINE) for name in ("web-1", "web-2", "talk")]))
    for name in ("web-1", "web-2"):
        made.serve(name, ServedPort(8080))
    made.serve("talk", ServedPort(8081, language="http"))
    return made


@pytest.fixture
def machine(network: RunningNetwork) -> NetworkNamespace:
    """A machine that can reach the backends and holds no rules."""
    place = network.network.place(MACHINE)
    nft(place, "flush", "ruleset")
    return place


def test_a_service_without_a_selector_answers_at_its_cluster_ip_and_node_port(
    machine: NetworkNamespace, network: RunningNetwork, tmp_path: Path
) -> None:
    with up(machine, tmp_path / "data") as running:
        assert "Ready,SchedulingDisabled" in running.kubectl("get", "nodes")
        running.apply(web(network.address("web-1"), network.address("web-2")))
        running.until_answers("web-1", "web-2")
        assert running.answers(ADDRESS, 30080) == {"web-1", "web-2"}
        outside = network.client_from("outside")
        assert outside.ask(ADDRESS, 30080).pod in ("web-1", "web-2")
        running.kubectl("delete", "endpointslice", "web-1")
        running.until_answers("refused")


def test_kubectl_reaches_a_service_through_the_api_server(
    machine: NetworkNamespace, network: RunningNetwork, tmp_path: Path
) -> None:
    root = "/api/v1/namespaces/default/services/web:80/proxy/"
    with up(machine, tmp_path / "data") as running:
        running.apply(web())
        with pytest.raises(CommandFailed, match=r'no endpoints available for service "web:80"'):
            running.kubectl("get", "--raw", root)
        running.apply(web(network.address("web-1")))
        with pytest.raises(CommandFailed, match=r"error trying to reach service: .*: what it answers is not HTTP"):
            running.kubectl("get", "--raw", root)
        running.apply(web(network.address("talk")).replace("port: 8080}", "port: 8081}"))
        page = json.loads(running.kubectl("get", "--raw", f"{root}a/b?c=d"))
        assert (page["pod"], page["path"]) == ("talk", "/a/b?c=d")
        posted = json.loads(running.kubectl("create", "--raw", root, "-f", "-", given="anything"))
        assert posted["method"] == "POST"
        viewer = ("--as=ann", "--as-group=fairway:viewers")
        with pytest.raises(CommandFailed, match='cannot get resource "services/proxy"'):
            running.kubectl(*viewer, "get", "--raw", root)


def test_it_says_where_everything_is(machine: NetworkNamespace, tmp_path: Path) -> None:
    with up(machine, tmp_path / "data", "--hostname-override=homelab", "--secure-port=7443") as running:
        assert running.said == {
            "server": "https://127.0.0.1:7443",
            "kubeconfig": str(tmp_path / "data" / "admin.conf"),
            "node": "homelab",
            "nodeAddresses": running.said["nodeAddresses"],
            "serviceClusterIPRange": "10.96.0.0/16",
            "serviceNodePortRange": "30000-32767",
            "dataDirectory": str(tmp_path / "data"),
            "rangesWithoutRoute": [],
            "forwards": True,
        }
        assert ADDRESS in running.said["nodeAddresses"]
        assert "homelab" in running.kubectl("get", "nodes", "-o", "name")


def test_after_ctrl_c_services_answer_and_the_next_start_goes_on_without_interrupting_anybody(
    machine: NetworkNamespace, network: RunningNetwork, tmp_path: Path
) -> None:
    backend = network.network.place("talk")
    with up(machine, tmp_path / "data") as first:
        first.apply(web(network.address("talk")))
        until(machine, lambda: "10.96.7.7 . tcp . 80" in nft(machine, "list", "table", "ip", "fairway"), "it is there")
        talk = Conversation(machine, (VIP, 80), [backend])
        first.interrupt()
        assert talk.still_works()
    with talk, up(machine, tmp_path / "data") as second:
        assert talk.still_works()
        assert "10.96.7.7" in second.kubectl("get", "service", "web")
        second.apply(web(network.address("web-1")))
        second.until_answers("web-1")
        assert talk.still_works()


def test_a_killed_one_leaves_nothing_in_the_way_of_the_next(
    machine: NetworkNamespace, network: RunningNetwork, tmp_path: Path
) -> None:
    with up(machine, tmp_path / "data") as first:
        first.apply(web(network.address("web-1")))
        first.until_answers("web-1")
        first.process.kill()
    with up(machine, tmp_path / "data") as second:
        assert second.answers() == {"web-1"}


def test_a_second_one_is_told_which_process_is_the_first(machine: NetworkNamespace, tmp_path: Path) -> None:
    with up(machine, tmp_path / "data") as first:
        said = refusal(machine, *command(tmp_path / "data"))
        assert f"works in this network namespace already: process {first.process.pid}" in said


def test_one_data_directory_serves_one_process(
    machine: NetworkNamespace, network: RunningNetwork, tmp_path: Path
) -> None:
    elsewhere = network.network.place("web-1")
    with up(machine, tmp_path / "data") as first:
        said = refusal(elsewhere, *command(tmp_path / "data"))
        assert f"another `fairway up` (process {first.process.pid}) uses {tmp_path / 'data'}" in said


def test_a_port_in_use_is_named(machine: NetworkNamespace, tmp_path: Path) -> None:
    with machine.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 6443))
        taken.listen()
        said = refusal(machine, *command(tmp_path / "data"))
    assert "cannot listen on 127.0.0.1 port 6443: Address already in use" in said


def test_a_data_directory_that_is_none_is_named(machine: NetworkNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    said = refusal(machine, *command(tmp_path / "file"))
    assert f"cannot use the data directory {tmp_path / 'file'}" in said


def test_without_privileges_it_says_what_it_takes(machine: NetworkNamespace, tmp_path: Path) -> None:
    nobody = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    said = refusal(machine, *nobody, *command(tmp_path / "data"))
    assert "run it as root, or with CAP_NET_ADMIN" in said


@pytest.fixture
def island(machine_for_labs: None) -> Iterator[NetworkNamespace]:
    """A machine with one address and no route to anywhere."""
    with created(f"pytest-{os.getpid()}-island") as place:
        with Links(place) as links:
            links.set_up("lo")
            links.add_address("lo", "192.0.2.7/32")
        yield place


def test_on_a_machine_without_a_route_it_says_so_and_can_add_one(island: NetworkNamespace, tmp_path: Path) -> None:
    with up(island, tmp_path / "data") as running:
        assert running.said["rangesWithoutRoute"] == ["10.96.0.0/16"]
        running.apply(web("192.0.2.7"))
        assert running.answers() == {"unreachable"}
    with island.socket() as server, up(island, tmp_path / "data", "--add-route") as running:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("192.0.2.7", 8080))
        server.listen()
        assert running.said["rangesWithoutRoute"] == []
        with island.socket() as client:
            client.settimeout(PATIENCE)
            client.connect((VIP, 80))
            accepted, peer = server.accept()
            accepted.close()
            assert peer[0] == "192.0.2.7"
