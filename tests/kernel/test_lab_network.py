"""A topology made real carries packets between everybody it names, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.links import Links, sysctl
from fairway.lab import remains
from fairway.lab.errors import LabError, LabExists, LabMissing
from fairway.lab.network import Network
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.state import State
from fairway.lab.topology import OUTSIDE_CLIENT, LabPod, Topology, cluster, ipv6
from tests.kernel.under_load import sent_again

pytestmark = pytest.mark.kernel

HTTP = ServedPort(8080, "TCP", "http", "http")
LINE = ServedPort(6379, "TCP", "redis")
UDP = ServedPort(8125, "UDP", "statsd")


@pytest.fixture(scope="module")
def served(lab_network: RunningNetwork) -> RunningNetwork:
    lab_network.serve_all(HTTP, LINE, UDP)
    return lab_network


@pytest.mark.parametrize(
    "place", ["a-1", "a-2", "b-1", "client-node-1", "client-node-2", "node-1", "node-2", "outside", "router"]
)
@pytest.mark.parametrize("port", [HTTP, LINE, UDP], ids=["http", "tcp", "udp"])
def test_everybody_reaches_a_pod_and_is_seen_as_himself(served: RunningNetwork, place: str, port: ServedPort) -> None:
    client = served.client_from(place)
    answer = client.ask(served.address("a-1"), port.number, port.protocol, language=port.language)
    assert (answer.result, answer.pod) == ("answered", "a-1")
    assert answer.client == answer.source


def test_a_port_that_nobody_serves_is_refused_at_once(served: RunningNetwork) -> None:
    client = served.client_from("b-1")
    for protocol in ("TCP", "UDP"):
        results = [client.ask(served.address("a-1"), 9, protocol, timeout=30).result for _ in range(20)]
        assert results == ["refused"] * 20


def test_an_address_that_nobody_has_is_told_from_a_port_that_nobody_serves(served: RunningNetwork) -> None:
    assert served.client_from("b-1").ask("203.0.113.9", 80).result == "unreachable"
    assert served.client_from("b-1").ask("10.244.1.200", 80, timeout=0.2).result in ("timed out", "unreachable")


def test_a_connection_stays_open_and_echoes(served: RunningNetwork) -> None:
    with served.client_from("c-1").connect(served.address("a-2"), LINE.number) as connection:
        lines = connection.makefile("rwb")
        with lines:
            assert lines.readline().startswith(b"a-2 10.244.3.2:")
            for line in (b"one\n", b"two\n"):
                lines.write(line)
                lines.flush()
                assert lines.readline() == line


def test_curl_sees_a_page_and_json(served: RunningNetwork) -> None:
    url = f"http://{served.address('a-1')}:{HTTP.number}"
    client = served.client_from("b-2").namespace
    page = run(["curl", "-sS", "--max-time", "30", f"{url}/cart?x=1", f"{url}/again"], namespace=client)
    assert page.startswith("pod: a-1\nnamespace: default\nnode: node-1\naddress: 10.244.1.2\nclient: 10.244.2.3:")
    assert "path: /cart?x=1\n" in page
    assert "path: /again\n" in page
    one = run(["curl", "-sS", "--max-time", "30", "-H", "Accept: application/json", url], namespace=client)
    assert '"pod":"a-1"' in one
    head = run(["curl", "-sSI", "--max-time", "30", url], namespace=client)
    assert head.startswith("HTTP/1.1 200 OK")


def test_nonsense_on_an_http_port_gets_an_error_and_the_next_client_an_answer(served: RunningNetwork) -> None:
    with served.client_from("b-1").connect(served.address("a-1"), HTTP.number) as connection:
        connection.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 Bad Request")
    assert served.client_from("b-1").ask(served.address("a-1"), HTTP.number, language="http").ok


def test_a_node_has_what_a_proxy_needs(served: RunningNetwork) -> None:
    node = served.network.node("node-1")
    assert sysctl("net.ipv4.ip_forward", node) == "1"
    assert sysctl("net.bridge.bridge-nf-call-iptables", node) == "1"
    ports = run(["bridge", "-details", "link", "show"], namespace=node)
    assert ports.count("hairpin on") == 3
    assert "default via 172.30.0.254" in run(["ip", "route"], namespace=node)


def test_a_pod_made_again_at_its_address_is_reached_at_once(served: RunningNetwork) -> None:
    network = served.network
    pod = LabPod("again", "node-1", "10.244.1.88")
    for _ in range(3):
        with network.add_pod(pod).socket() as server:
            server.bind(("", 80))
            server.listen()
            for place in ("a-1", "b-1", "node-1", "client-node-1"):
                with served.client_from(place).connect(pod.address, 80) as connection:
                    assert connection.getpeername() == (pod.address, 80)
                    assert sent_again(connection) == 0
    network.remove_pod(pod)


def test_pods_come_and_go_while_the_network_stands(served: RunningNetwork) -> None:
    network = served.network
    pod = LabPod("late", "node-2", "10.244.2.77", "shop")
    network.add_pod(pod)
    network.add_pod(pod)  # as after a restart of whoever made it
    with network.pod("late", "shop").socket() as server:
        server.bind(("", 80))
        server.listen()
        with served.client_from("a-1").connect(pod.address, 80) as connection:
            assert connection.getpeername() == (pod.address, 80)
    network.remove_pod(pod)
    network.remove_pod(pod)
    with Links(network.node("node-2")) as links:
        assert pod.link not in links.names()
    with pytest.raises(LabError, match="no pod shop/late"):
        network.pod("late", "shop")


def test_a_place_is_found_by_the_names_people_use(served: RunningNetwork) -> None:
    network = served.network
    assert network.place("a-1") == network.place("default/a-1") == network.pod("a-1")
    assert network.place("node-1") == network.node("node-1")
    with pytest.raises(
        LabError,
        match=r"there is no 'nobody' in the lab .*; there is client-node-1, client-node-2, client-node-3, default/a-1,",
    ):
        network.place("nobody")


def test_a_name_that_two_pods_share_must_be_said_in_full(make_network: Callable[[Topology], RunningNetwork]) -> None:
    topology = cluster(nodes=1).with_pods(
        LabPod("web", "node-1", "10.244.1.2", "blue"), LabPod("web", "node-1", "10.244.1.3", "green")
    )
    network = make_network(topology).network
    with pytest.raises(LabError, match="several pods are called web: blue/web, green/web"):
        network.place("web")
    assert network.place("green/web") == network.pod("web", "green")


def test_everybody_of_a_dual_stack_lab_is_reached_by_both_addresses_at_once(
    make_network: Callable[[Topology], RunningNetwork],
) -> None:
    shape = cluster(nodes=2, pods=[("web", "node-1"), ("shell", "node-2")])
    network = make_network(replace(shape, dual_stack=True))
    network.serve("web", ServedPort(8080), ServedPort(5353, "UDP"))
    web, shell = network.address("web"), network.address("shell")
    for place, address in (("shell", shell), ("outside", OUTSIDE_CLIENT), ("node-2", shape.node("node-2").address)):
        for protocol, port in (("TCP", 8080), ("UDP", 5353)):
            answer = network.client_from(place).ask(ipv6(web), port, protocol)
            assert (answer.pod, answer.client_address) == ("web", ipv6(address)), f"{protocol} from {place}"
    assert network.client_from("shell").ask(web, 8080).client_address == shell


def test_a_port_that_is_taken_is_named_and_nothing_stays_open(
    make_network: Callable[[Topology], RunningNetwork],
) -> None:
    running = make_network(cluster(nodes=1, pods=[("web", "node-1")]))
    with running.network.pod("web").socket() as taken:
        taken.bind(("", 8080))
        taken.listen()
        with pytest.raises(LabError, match="port 8080/TCP: Address already in use"):
            running.serve("web", UDP, HTTP)
    running.serve("web", UDP, HTTP)
    assert running.client_from("node-1").ask(running.address("web"), UDP.number, "UDP").pod == "web"


def test_a_stopped_server_ends_its_connections_and_refuses_new_ones(
    make_network: Callable[[Topology], RunningNetwork],
) -> None:
    running = make_network(cluster(nodes=1, pods=[("web", "node-1")]))
    server = running.serve("web", LINE)
    with running.client_from("node-1").connect(running.address("web"), LINE.number) as connection:
        assert connection.recv(100).startswith(b"web ")
        running.stop(server)
        assert connection.recv(100) == b""
    assert running.client_from("node-1").ask(running.address("web"), LINE.number).result == "refused"


def test_two_labs_with_the_same_addresses_do_not_meet(make_network: Callable[[Topology], RunningNetwork]) -> None:
    first, second = (make_network(cluster(nodes=1, pods=[(name, "node-1")])) for name in ("one", "two"))
    first.serve("one", LINE)
    second.serve("two", LINE)
    assert first.address("one") == second.address("two")
    assert first.client_from("node-1").ask(first.address("one"), LINE.number).pod == "one"
    assert second.client_from("node-1").ask(second.address("two"), LINE.number).pod == "two"


def test_a_network_that_cannot_be_finished_leaves_nothing() -> None:
    topology = cluster(f"fwt-{os.getpid()}", 2, [("a", "node-1")])
    with namespaces.created(topology.pod_namespace(topology.pods[0])), pytest.raises(FileExistsError):
        Network(topology).__enter__()
    assert namespaces.names(topology.prefix) == []


BUILD_AND_DIE = """
import os, signal, sys
from fairway.lab.network import Network
from fairway.lab.state import State
from fairway.lab.topology import cluster
topology = cluster(sys.argv[1], 2, [("a", "node-1")])
State(topology.name).claim(topology)
network = Network(topology)
network.build()
import subprocess
subprocess.Popen(["sleep", "1000"], env={**os.environ, **State(topology.name).environment})
network.node("node-1").run(lambda: subprocess.Popen(["sleep", "1001"]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_found_and_removed() -> None:
    name = f"fwt-killed-{os.getpid()}"
    died = subprocess.run([sys.executable, "-c", BUILD_AND_DIE, name], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    with pytest.raises(LabExists, match=f"{name!r} was left half made; `fairway lab down --name {name}` removes it"):
        State(name).claim(cluster(name))
    assert len(remains.processes(name)) == 2
    assert remains.orphans(name) == [name]
    removed = remains.remove(name)
    assert len(removed.processes) == 2
    assert len(removed.namespaces) == 7
    assert removed.directory
    assert not remains.remove(name)
    assert remains.processes(name) == []
    with pytest.raises(LabMissing, match=f"no lab called '{name}'"):
        State(name).topology()


def test_a_process_that_ignores_being_asked_is_ended() -> None:
    name = f"fwt-stubborn-{os.getpid()}"
    stubborn = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", stubborn],
        env={**os.environ, **State(name).environment},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert remains.remove(name).processes == (process.pid,)
        assert process.wait(30) == -signal.SIGKILL


def test_removing_one_lab_leaves_its_neighbour(make_network: Callable[[Topology], RunningNetwork]) -> None:
    neighbour = make_network(cluster(nodes=1))
    name = f"{neighbour.topology.name}-x"
    topology = replace(cluster(nodes=1), name=name)
    State(name).claim(topology)
    Network(topology).build()
    assert remains.remove(name).directory
    assert neighbour.network.node("node-1").exists
    assert State(neighbour.topology.name).exists
