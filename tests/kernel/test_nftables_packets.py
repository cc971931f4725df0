"""Real packets in both families, on the smallest stage: a client, a node, and two backends behind it.

    client fd00:c::2 ── node fd00:c::1 │ fd00:b::1 ── backends fd00:b::2, fd00:b::3 (one namespace, two addresses)

The scenarios send IPv4 through a whole lab; this is the other family, and what must survive a change.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import cycle

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.links import Links, set_sysctls
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nftables import Nftables
from fairway.model.address import ANY, family_of
from fairway.model.hashing import chosen
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView, Pool
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables.tables import read_frontend

pytestmark = pytest.mark.kernel

MODE = NftablesMode()
PREFIXES = {"IPv4": "10.{}.0.", "IPv6": "fd00:{}::"}
PARTS = {
    "IPv4": {"client": "12", "backend": "11", "service": "96"},
    "IPv6": {"client": "c", "backend": "b", "service": "96"},
}
WIDTHS = {"IPv4": 24, "IPv6": 64}
FORWARD = Action(kind=ActionKind.FORWARD)
HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)
REJECT = Action(kind=ActionKind.REJECT)
SECONDS = 30.0
LARGE = bytes(range(250)) * 40
"""More than fits a packet."""
AT_ONCE = {"net.ipv6.conf.default.accept_dad": "0"}  # addresses are usable at once
FORWARDING = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}


def address(family: str, part: str, number: int) -> str:
    return PREFIXES[family].format(PARTS[family][part]) + str(number)


@dataclass
class Stage:
    client: NetworkNamespace
    node: NetworkNamespace
    backend: NetworkNamespace
    kernel: Nftables
    held: Program = field(default_factory=MODE.empty)

    def load(self, *frontends: Frontend, count_connections: bool = False) -> None:
        addresses = tuple(address(family, part, 1) for family in PREFIXES for part in ("client", "backend"))
        settings = NodeSettings(
            name="node",
            addresses=(*addresses, "127.0.0.1", "::1"),
            pod_networks=("10.11.0.0/24", "fd00:b::/64"),
            service_networks=("10.96.0.0/24", "fd00:96::/64"),
            count_connections=count_connections,
        )
        wanted = MODE.program(NodeView(settings=settings, frontends={one.key: one for one in frontends}))
        self.kernel.apply(MODE.plan(self.held, wanted))
        self.held = wanted

    def drift(self) -> str:
        return MODE.plan(Program(self.kernel.read(), self.held.settings), self.held).render()

    def connect(self, where: NetworkNamespace, target: str, port: int, seconds: float = SECONDS) -> socket.socket:
        opened = where.socket(socket.AF_INET6 if ":" in target else socket.AF_INET)
        opened.settimeout(seconds)
        try:
            opened.connect((target, port))
        except OSError:
            opened.close()
            raise
        return opened

    def ask(self, where: NetworkNamespace, target: str, port: int = 80, seconds: float = SECONDS) -> str:
        """Who answered and whom he saw: `2 sees fd00:c::2`."""
        with self.connect(where, target, port, seconds) as opened:
            return opened.recv(200).decode()


@pytest.fixture(scope="module")
def network() -> Iterator[Stage]:
    with ExitStack() as stack:
        client, node, backend = (
            stack.enter_context(namespaces.created(f"fwt-nft-{os.getpid()}-{name}")) for name in ("c", "n", "b")
        )
        for namespace in (client, node, backend):
            set_sysctls(AT_ONCE, namespace)
        set_sysctls(FORWARDING, node)
        with Links(node) as here, Links(client) as left, Links(backend) as right:
            here.add_veth("left", "eth0", client)
            here.add_veth("right", "eth0", backend)
            for family, width in WIDTHS.items():
                here.add_address("left", f"{address(family, 'client', 1)}/{width}")
                here.add_address("right", f"{address(family, 'backend', 1)}/{width}")
                left.add_address("eth0", f"{address(family, 'client', 2)}/{width}")
                for number in (2, 3):
                    right.add_address("eth0", f"{address(family, 'backend', number)}/{width}")
            for links, name in ((here, "left"), (here, "right"), (here, "lo"), (left, "eth0"), (right, "eth0")):
                links.set_up(name)
            for family in WIDTHS:
                left.add_route(f"{ANY[family]}/0", via=address(family, "client", 1))
                right.add_route(f"{ANY[family]}/0", via=address(family, "backend", 1))
                here.add_route(f"{ANY[family]}/0", via=address(family, "client", 2))
        for family in WIDTHS:
            for number in (2, 3):
                stack.enter_context(_Server(backend, address(family, "backend", number), str(number)))
        yield Stage(client, node, backend, stack.enter_context(node.run(Nftables)))


@pytest.fixture
def stage(network: Stage) -> Iterator[Stage]:
    yield network
    network.kernel.apply(MODE.plan(network.held, MODE.empty()))  # and with it all that the kernel remembers
    network.held = MODE.empty()


class _Server:
    """Says its name and whom it sees, then holds the line until the client hangs up."""

    def __init__(self, namespace: NetworkNamespace, where: str, name: str) -> None:
        self.name = name
        self.listener = namespace.socket(socket.AF_INET6 if ":" in where else socket.AF_INET)
        self.listener.bind((where, 8080))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(SECONDS)
        self.listener.close()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                opened, peer = self.listener.accept()
                threading.Thread(target=self.answer, args=(opened, peer[0]), daemon=True).start()

    def answer(self, opened: socket.socket, peer: str) -> None:
        with opened, suppress(OSError):
            opened.sendall(f"{self.name} sees {peer}".encode())
            while asked := opened.recv(200):
                opened.sendall(asked)


def frontend(family: str, *numbers: int, action: Action = FORWARD, **more: object) -> Frontend:
    fields: dict[str, object] = {
        "kind": FrontendKind.CLUSTER_IP,
        "address": address(family, "service", 1),
        "protocol": "TCP",
        "port": 80,
        "service": Key("shop", "web"),
        "cluster": tuple(
            Backend(address=address(family, "backend", number), port=8080, local=True) for number in numbers
        ),
        "pod": action,
        "node": action,
        "outside": action,
    }
    return Frontend(**(fields | more))  # type: ignore[arg-type]


both = pytest.mark.parametrize("family", ["IPv4", "IPv6"])


@both
def test_a_cluster_ip_leads_to_every_backend_and_keeps_the_clients_address(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, 3))
    seen = {stage.ask(stage.client, address(family, "service", 1)) for _ in range(30)}
    client = address(family, "client", 2)
    assert seen == {f"2 sees {client}", f"3 sees {client}"}


@both
@pytest.mark.parametrize("affinity", [0, 600])
def test_the_heavier_backend_gets_more_connections(stage: Stage, family: str, affinity: int) -> None:
    light, heavy = (
        Backend(address=address(family, "backend", number), port=8080, local=True, weight=weight)
        for number, weight in ((2, 1), (3, 19))
    )
    stage.load(frontend(family, cluster=(light, heavy), affinity_seconds=affinity))
    if not affinity:
        # Less than 60 of 100 would be a coincidence that the age of the universe does not suffice for.
        answers = [stage.ask(stage.client, address(family, "service", 1)).split()[0] for _ in range(100)]
        assert answers.count("3") >= 60
    else:
        assert len(_again(stage, family)) == 1


@both
def test_a_masqueraded_client_is_seen_as_the_node(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, action=HIDE))
    assert stage.ask(stage.client, address(family, "service", 1)) == f"2 sees {address(family, 'backend', 1)}"


@both
def test_the_node_itself_is_a_client(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 3, node=HIDE))
    assert stage.ask(stage.node, address(family, "service", 1)) == f"3 sees {address(family, 'backend', 1)}"


@both
def test_a_backend_that_asks_itself_sees_the_node(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2))
    opened = stage.backend.socket(socket.AF_INET6 if family == "IPv6" else socket.AF_INET)
    with opened:
        opened.settimeout(SECONDS)
        opened.bind((address(family, "backend", 2), 0))
        opened.connect((address(family, "service", 1), 80))
        assert opened.recv(200).decode() == f"2 sees {address(family, 'backend', 1)}"


@both
def test_a_node_port_is_on_every_address_of_the_node(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, action=HIDE, kind=FrontendKind.NODE_PORT, address=ANY[family], port=30080))
    for part in ("client", "backend"):
        assert stage.ask(stage.client, address(family, part, 1), 30080) == f"2 sees {address(family, 'backend', 1)}"


@both
@pytest.mark.parametrize("where", ["client", "node"])
def test_without_backends_a_client_is_refused_at_once(stage: Stage, family: str, where: str) -> None:
    stage.load(frontend(family, action=REJECT))
    for _ in range(5):  # ICMP would be limited to one answer a second
        with pytest.raises(ConnectionRefusedError):
            stage.ask(getattr(stage, where), address(family, "service", 1))


@both
def test_another_port_of_a_cluster_ip_is_refused(stage: Stage, family: str) -> None:
    others = frontend(family, action=REJECT, kind=FrontendKind.OTHER_PORTS, protocol="", port=0)
    stage.load(frontend(family, 2), others)
    with pytest.raises(ConnectionRefusedError):
        stage.ask(stage.client, address(family, "service", 1), 81)


@both
def test_source_ranges_let_in_whom_they_hold(stage: Stage, family: str) -> None:
    client = address(family, "client", 2)
    allowed = client + ("/128" if family_of(client) == "IPv6" else "/32")
    stage.load(frontend(family, 2, source_ranges=(allowed,)))
    assert stage.ask(stage.client, address(family, "service", 1)) == f"2 sees {client}"


@pytest.mark.reference("7.5 LoadBalancers: no connectivity disruption during rolling update")
@both
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stage, family: stage.load(frontend(family, 3)), id="its backend leaves"),
        pytest.param(lambda stage, family: stage.load(), id="the Service goes"),
        pytest.param(lambda stage, family: _replace_tables(stage), id="the table is replaced"),
    ],
)
def test_an_open_connection_survives(stage: Stage, family: str, change: Callable[[Stage, str], None]) -> None:
    stage.load(frontend(family, 2))
    with stage.connect(stage.client, address(family, "service", 1), 80) as opened:
        assert opened.recv(200).startswith(b"2 sees")
        change(stage, family)
        opened.sendall(b"still there?")
        assert opened.recv(200) == b"still there?"


@pytest.mark.reference("7.5 LoadBalancers: no connectivity disruption during rolling update")
@pytest.mark.reference("7.5 Pod lifecycle: to and from a terminating pod; zero downtime blue-green")
@both
def test_who_connects_while_backends_change_is_answered_by_one_of_them(stage: Stage, family: str) -> None:
    """But for one in thousands: the kernel goes over to other elements between two look-ups of a packet, too."""

    def come() -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(50):
            try:
                found[stage.ask(stage.client, address(family, "service", 1), seconds=SECONDS / 3).split()[0]] += 1
            except TimeoutError:
                found["nobody"] += 1
        return found

    stage.load(frontend(family, 2))
    changes = cycle([(2, 3), (3,), (3, 2), (2,)])
    with ThreadPoolExecutor(1) as pool:
        newcomers = pool.submit(come)
        while not newcomers.done():
            stage.load(frontend(family, *next(changes)))
    answered = newcomers.result()
    assert answered.keys() <= {"2", "3", "nobody"}
    assert answered["nobody"] <= 2


@pytest.mark.reference("7.5 Granular Checks: large requests: http; udp")
@both
def test_a_datagram_of_many_fragments_arrives_whole_and_so_does_its_answer(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, protocol="UDP"))
    kind = (socket.AF_INET6 if family == "IPv6" else socket.AF_INET, socket.SOCK_DGRAM)
    with stage.backend.socket(*kind) as server, stage.client.socket(*kind) as client:
        for one in (server, client):
            one.settimeout(SECONDS)
        server.bind((address(family, "backend", 2), 8080))
        client.connect((address(family, "service", 1), 80))
        client.send(LARGE)
        asked, peer = server.recvfrom(len(LARGE) + 1)
        server.sendto(asked[::-1], peer)
        assert client.recv(len(LARGE) + 1) == LARGE[::-1]


@pytest.mark.reference("7.5 Granular Checks: large requests: http; udp")
@both
def test_a_request_of_many_packets_arrives_whole_and_so_does_its_answer(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2))
    with stage.connect(stage.client, address(family, "service", 1), 80) as opened:
        assert opened.recv(200).startswith(b"2 sees")
        opened.sendall(LARGE)
        found = b""
        while len(found) < len(LARGE) and (more := opened.recv(len(LARGE))):
            found += more
        assert found == LARGE


@both
@pytest.mark.parametrize("affinity", [0, 600])
def test_the_kernel_hashes_clients_as_the_model_does(stage: Stage, family: str, affinity: int) -> None:
    one = frontend(family, 2, 3, balancing="hash", affinity_seconds=affinity)
    stage.load(one)
    seen, expected = {}, {}
    first = 60 if affinity else 10
    for number in range(first, first + 16):
        client = address(family, "client", number)
        with Links(stage.client) as links:
            links.add_address("eth0", f"{client}/{WIDTHS[family]}")
        with stage.client.socket(socket.AF_INET6 if family == "IPv6" else socket.AF_INET) as opened:
            opened.settimeout(SECONDS)
            opened.bind((client, 0))
            opened.connect((one.address, 80))
            seen[client] = opened.recv(200).decode()
        backend = chosen(one.cluster, client)
        expected[client] = f"{backend.address.rpartition('.' if family == 'IPv4' else ':')[2]} sees {client}"
    assert seen == expected
    assert len({answer.split()[0] for answer in seen.values()}) == 2


def _remembered(stage: Stage, family: str) -> list[dict[str, int]]:
    """What the kernel remembers of clients: seconds each memory lasts altogether (timeout) and still (expires)."""
    name = "ip6" if family == "IPv6" else "ip"
    listed = json.loads(run(["nft", "--json", "list", "map", name, "fairway", "affinity"], namespace=stage.node))
    (found,) = (one["map"] for one in listed["nftables"] if "map" in one)
    return [pair[0]["elem"] for pair in found.get("elem", [])]


def _again(stage: Stage, family: str, times: int = 12) -> set[str]:
    """Who answers a client that connects so often."""
    return {stage.ask(stage.client, address(family, "service", 1)).split()[0] for _ in range(times)}


@both
def test_a_client_comes_back_to_its_backend(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, 3, affinity_seconds=600))
    assert len(_again(stage, family)) == 1
    (memory,) = _remembered(stage, family)
    assert memory["timeout"] == 600


@pytest.mark.reference("7.5 affinity timeout work for both")
@both
def test_each_connection_begins_the_time_anew_with_the_timeout_of_now(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, 3, affinity_seconds=60))
    (first,) = _again(stage, family, 1)
    assert _remembered(stage, family)[0]["expires"] <= 60
    stage.load(frontend(family, 2, 3, affinity_seconds=600))
    assert _again(stage, family, 1) == {first}
    (memory,) = _remembered(stage, family)
    assert memory["expires"] > 60


@both
def test_a_client_whose_backend_leaves_moves_and_then_stays(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, 3, affinity_seconds=600))
    (first,) = _again(stage, family, 1)
    other = {"2": 3, "3": 2}[first]
    stage.load(frontend(family, other, affinity_seconds=600))
    assert _again(stage, family, 1) == {str(other)}
    stage.load(frontend(family, 2, 3, affinity_seconds=600))
    assert _again(stage, family) == {str(other)}
    assert len(_remembered(stage, family)) == 1


@pytest.mark.reference("7.5 affinity timeout work for both")
@both
def test_a_client_that_stays_away_is_forgotten(stage: Stage, family: str) -> None:
    stage.load(frontend(family, 2, 3, affinity_seconds=1))
    _again(stage, family, 1)
    deadline = time.monotonic() + SECONDS
    while _remembered(stage, family):
        assert time.monotonic() < deadline


@pytest.mark.reference("7.5 session affinity work / switch for clusterIP and NodePort")
@both
def test_a_node_port_remembers_for_itself(stage: Stage, family: str) -> None:
    port = {"kind": FrontendKind.NODE_PORT, "address": ANY[family], "port": 30080}
    stage.load(frontend(family, 2, 3, action=HIDE, affinity_seconds=600, **port))
    asked = [(part, 30080) for part in ("client", "backend")] * 6
    seen = {stage.ask(stage.client, address(family, part, 1), number).split()[0] for part, number in asked}
    assert len(seen) == 1


@both
def test_who_only_gets_backends_of_this_node_keeps_to_them(stage: Stage, family: str) -> None:
    both_pools = frontend(family, 2, 3, affinity_seconds=600)
    stage.load(both_pools)
    (first,) = _again(stage, family, 1)
    other = next(one for one in both_pools.cluster if one.address != address(family, "backend", int(first)))
    near = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL)
    stage.load(frontend(family, 2, 3, affinity_seconds=600, outside=near, local=(other,)))
    assert _again(stage, family) == {other.address.rpartition("." if family == "IPv4" else ":")[2]}


def _replace_tables(stage: Stage) -> None:
    """As when a new version's table has another shape: gone and made in one transaction."""
    shaped = stage.held.tables()
    for table in shaped.values():
        table.sets["slots"] = table.sets["slots"]._replace(comment="of another version")
    plan = MODE.plan(Program(shaped, stage.held.settings), stage.held)
    assert plan.render().startswith("delete table ip fairway\nadd table ip fairway\n")
    stage.kernel.apply(plan)


@both
def test_the_kernel_counts_the_connections_of_each_frontend(stage: Stage, family: str) -> None:
    one = frontend(family, 2)
    port = frontend(family, 2, action=HIDE, kind=FrontendKind.NODE_PORT, address=ANY[family], port=30080)
    stage.load(one, port, count_connections=True)
    assert stage.drift() == ""
    for _ in range(3):
        stage.ask(stage.client, one.address)
    stage.ask(stage.client, address(family, "client", 1), 30080)
    counted = {read_frontend(key): packets for _, key, packets in stage.kernel.counters("frontends")}
    assert counted == {one.key: 3, port.key: 1}
    stage.load(one, port)
    assert list(stage.kernel.counters("frontends")) == []
