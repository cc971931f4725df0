"""The ipvs mode's kernel side, in a guest: what is written is what is held, and what others wrote is theirs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fairway.kernel.command import run
from fairway.kernel.contract import Unsuitable
from fairway.kernel.ipset import Ipset, remove
from fairway.kernel.ipvs import Ipvs, Schedulers, real_servers
from fairway.kernel.ipvs_counts import Counts
from fairway.kernel.ipvs_mode import IpvsKernel, Tuning
from fairway.kernel.ipvs_rules import open_rules
from fairway.kernel.links import Links, sysctl
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Pool,
)
from fairway.modes.ipvs import IpvsMode, Options
from fairway.modes.ipvs.marks import of_nobody
from fairway.modes.ipvs.parts import DEVICE, SCHEDULERS, Entry, IpSet, Marked, Real, Scheduling, Virtual
from fairway.proxy.document import DEFAULTS
from fairway.proxy.document import Ipvs as IpvsDocument
from fairway.proxy.kernels import open_mode

pytestmark = pytest.mark.vm

VIP, FOREIGN = "10.96.0.1", "192.0.2.99"
PATIENCE = 30.0
FORWARD = Action(kind=ActionKind.FORWARD, masquerade=True)


class World:
    """A node with two pods, and its kernel in ipvs mode."""

    def __init__(self, network: RunningNetwork) -> None:
        self.network = network
        self.node: NetworkNamespace = network.network.node("node-1")
        self.backends = tuple(
            Backend(address=network.address(name), port=8080, node="node-1", local=True) for name in ("web-1", "web-2")
        )
        self.settings = NodeSettings(
            name="node-1", addresses=("172.30.0.1", "10.244.1.1", "127.0.0.1"), pod_networks=("10.244.0.0/16",)
        )
        self.mode = IpvsMode()

    def open(self) -> IpvsKernel:
        def make() -> IpvsKernel:
            return IpvsKernel(Ipvs(), Ipset(), open_rules(), self.mode, Tuning(leave_alone=("192.0.2.0/24",)))

        return self.node.run(make)

    def frontend(self, *backends: Backend, **more: object) -> Frontend:
        fields: dict[str, object] = {
            "kind": FrontendKind.CLUSTER_IP,
            "address": VIP,
            "protocol": "TCP",
            "port": 80,
            "service": Key("shop", "web"),
            "cluster": backends or self.backends,
            "pod": FORWARD,
            "node": FORWARD,
            "outside": FORWARD,
        }
        return Frontend(**(fields | more))  # type: ignore[arg-type]

    def put(self, kernel: IpvsKernel, *frontends: Frontend) -> None:
        """Make the kernel hold just these, and see that it does."""
        wanted = self.mode.program(NodeView(settings=self.settings, frontends={one.key: one for one in frontends}))
        self.node.run(lambda: kernel.apply(self.mode.plan(kernel.read_back(), wanted)))
        assert self.node.run(lambda: self.mode.plan(kernel.read_back(), wanted)).render() == ""
        assert self.node.run(kernel.look) is False, "our own change was taken for somebody else's"


@pytest.fixture(scope="module")
def world(make_network: Callable[[Topology], RunningNetwork]) -> World:
    network = make_network(cluster(nodes=1, pods=[("web-1", "node-1"), ("web-2", "node-1"), ("shell", "node-1")]))
    network.serve_all(ServedPort(8080))
    return World(network)


@pytest.fixture(scope="module")
def kernel(world: World) -> Iterator[IpvsKernel]:
    made = world.open()
    try:
        yield made
    finally:
        world.node.run(made.clean)
        made.ipvs.close()
        made.ipset.close()


def test_the_tools_show_what_a_program_is_printed_as(world: World, kernel: IpvsKernel) -> None:
    shown = balancer(world, world.backends[0])
    world.put(kernel, world.frontend(health_check_port=32000), shown)
    view = NodeView(settings=world.settings, frontends={one.key: one for one in (world.frontend(), shown)})
    printed = {line.partition(" # ")[0] for line in world.mode.render(world.mode.program(view)).splitlines()}
    servers = run(["ipvsadm", "--save", "--numeric"], namespace=world.node).splitlines()
    assert set(servers) == {line for line in printed if line.startswith(("-A -", "-a -"))}
    entries = {line for line in run(["ipset", "save"], namespace=world.node).splitlines() if line.startswith("add ")}
    assert entries == {line for line in printed if line.startswith("add ")} | {"add KUBE-HEALTH-CHECK-NODE-PORT 32000"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_kernel_takes_every_scheduler_and_delivers(world: World, kernel: IpvsKernel, scheduler: str) -> None:
    world.put(kernel, world.frontend(scheduler=scheduler))
    client = world.network.client_from("shell")
    answered = {client.ask(VIP, 80).pod for _ in range(4)}
    assert answered <= {"web-1", "web-2"}
    assert answered
    if scheduler in ("rr", "wrr"):
        assert answered == {"web-1", "web-2"}


def test_weights_are_kept(world: World, kernel: IpvsKernel) -> None:
    heavy, light = world.backends
    world.put(kernel, world.frontend(replace(heavy, weight=3), light))
    client = world.network.client_from("shell")
    answers = [client.ask(VIP, 80).pod for _ in range(8)]
    assert (answers.count("web-1"), answers.count("web-2")) == (6, 2)


def test_a_client_with_affinity_stays(world: World, kernel: IpvsKernel) -> None:
    world.put(kernel, world.frontend(affinity_seconds=600))
    client = world.network.client_from("shell")
    assert len({client.ask(VIP, 80).pod for _ in range(6)}) == 1


def test_a_backend_with_connections_drains_and_then_goes(world: World, kernel: IpvsKernel) -> None:
    stays, leaves = world.backends
    world.put(kernel, world.frontend(leaves))
    talking = world.network.client_from("shell").connect(VIP, 80, timeout=PATIENCE)
    try:
        world.put(kernel, world.frontend(stays))
        gone = Real(Virtual("TCP", VIP, 80), leaves.address, leaves.port)
        there = world.node.run(real_servers)[gone]
        assert (there.weight, there.active) == (0, 1)
        assert world.network.client_from("shell").ask(VIP, 80).pod == "web-1"
        talking.sendall(b"\n")
        assert b"web-2" in talking.recv(4096)
        assert gone in kernel.draining
        world.put(kernel, world.frontend(stays, leaves))  # it comes back before it has drained
        assert world.node.run(real_servers)[gone].weight == 1
        world.put(kernel, world.frontend(stays))
    finally:
        # A reset ends the connection for IPVS at once, too.
        talking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        talking.close()
    assert gone in kernel.draining


def test_what_has_no_connections_is_gone_when_it_is_looked_at(world: World, kernel: IpvsKernel) -> None:
    stays, leaves = world.backends
    world.put(kernel, world.frontend(stays, leaves, port=81))
    gone = Real(Virtual("TCP", VIP, 81), leaves.address, leaves.port)
    kernel.draining.add(gone)
    assert world.node.run(kernel.look) is False
    assert gone not in world.node.run(real_servers)
    assert kernel.draining == set()


def test_what_others_change_is_noticed_and_put_right(world: World, kernel: IpvsKernel) -> None:
    world.put(kernel, world.frontend())
    with world.node.run(Ipvs) as somebody:
        somebody.each([somebody.delete_service(Virtual("TCP", VIP, 80))])
    assert world.node.run(kernel.look) is True
    world.put(kernel, world.frontend())
    with world.node.run(Ipset) as somebody_else:
        somebody_else.each([remove(Entry("KUBE-CLUSTER-IP", f"{VIP},tcp:80"))])
    assert world.node.run(kernel.look) is True
    world.put(kernel, world.frontend())
    world.node.run(lambda: run(["iptables-legacy", "-t", "nat", "-F", "KUBE-SERVICES"]))
    assert world.node.run(kernel.look) is True
    world.put(kernel, world.frontend())


def test_other_peoples_servers_sets_and_addresses_stay(world: World, kernel: IpvsKernel) -> None:
    foreign = Virtual("TCP", FOREIGN, 443)
    mine = IpSet("MINE", "hash:ip", "ip")
    with world.node.run(Ipvs) as somebody, world.node.run(Ipset) as sets:
        somebody.each([somebody.add_service(foreign, Scheduling("rr"))])
        sets.create(mine)
        world.put(kernel, world.frontend())
        assert "virtual servers" in world.node.run(kernel.clean)
        assert somebody.services() == {foreign: Scheduling("rr")}
        assert list(sets.sets([mine])) == [mine]
        somebody.each([somebody.delete_service(foreign)])
        sets.destroy("MINE")
    with Links(world.node) as links:
        assert DEVICE not in links.names()
    assert world.node.run(kernel.clean) == ""


def test_a_change_of_one_backend_is_two_messages(world: World, kernel: IpvsKernel) -> None:
    stays, leaves = world.backends
    world.put(kernel, world.frontend(stays))
    held = world.mode.program(NodeView(settings=world.settings, frontends={(one := world.frontend(stays)).key: one}))
    plan = world.mode.plan_changes(held, {one.key: world.mode.compile(world.frontend(leaves), world.settings)})
    assert len(plan) <= 4  # and the entries of KUBE-LOOP-BACK, since both are on this node
    world.node.run(lambda: kernel.apply(plan))
    assert world.network.client_from("shell").ask(VIP, 80).pod == "web-2"


BALANCER = "203.0.113.9"


def balancer(world: World, *here: Backend) -> Frontend:
    """An address with policy Local."""
    outside = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL) if here else Action(kind=ActionKind.DROP)
    pod = Action(kind=ActionKind.FORWARD)
    kind = FrontendKind.LOAD_BALANCER
    return world.frontend(kind=kind, address=BALANCER, local=here, pod=pod, outside=outside)


def test_a_pods_connection_outlives_changes_of_who_is_local(world: World, kernel: IpvsKernel) -> None:
    world.put(kernel, balancer(world, world.backends[0]))
    talking = world.network.client_from("shell").connect(BALANCER, 80, timeout=PATIENCE)
    with talking:
        world.put(kernel, balancer(world))
        world.put(kernel, balancer(world, *world.backends))
        talking.sendall(b"\n")
        assert b"web-" in talking.recv(4096)
    assert {world.network.client_from("shell").ask(BALANCER, 80).pod for _ in range(2)} == {"web-1", "web-2"}


def test_both_virtual_servers_of_a_frontend_are_counted_as_one(world: World, kernel: IpvsKernel) -> None:
    world.put(kernel, balancer(world, world.backends[0]))
    assert any(isinstance(one, Marked) for one in world.node.run(kernel.ipvs.services))
    with world.node.run(Ipvs) as ipvs, world.node.run(Ipset) as ipset:
        counts = Counts(ipvs, ipset, kernel.rules.families)
        with world.network.client_from("shell").connect(BALANCER, 80, timeout=PATIENCE):
            found = world.node.run(lambda: list(counts.figures()))
        live = {one.labels["state"]: one.value for one in found if one.name == "fairway_ipvs_connections"}
        assert live["active"] == 1
        assert {one.labels["address"] for one in found} == {BALANCER}
        assert counts.connections().keys() == {FrontendKey(BALANCER, "TCP", 80)}


def test_a_scheduler_whose_module_is_missing_is_known_to_be(world: World, kernel: IpvsKernel) -> None:
    modprobe = Path("/proc/sys/kernel/modprobe")
    usual = modprobe.read_text()
    run(["modprobe", "--remove", "ip_vs_ovf"])
    try:
        modprobe.write_text("/bin/false")
        with pytest.raises(Unsuitable, match="this kernel has no ovf: it needs the module ip_vs_ovf"):
            world.node.run(open_mode("ipvs", type(DEFAULTS)(ipvs=IpvsDocument(scheduler="ovf"))).__enter__)
        with world.node.run(Ipvs) as ipvs:
            asked = Schedulers(ipvs, of_nobody(14))
            assert (asked("ovf"), asked("rr")) == (False, True)
            able = IpvsMode(Options(has_scheduler=asked))
        one = world.frontend(scheduler="ovf")
        assert "no ovf: the module is ip_vs_ovf" in able.unsupported(one)[0]
        program = able.program(NodeView(settings=world.settings, frontends={one.key: one}))
        world.node.run(lambda: kernel.apply(able.plan(kernel.read_back(), program)))
        assert world.network.client_from("shell").ask(VIP, 80).pod in ("web-1", "web-2")
    finally:
        modprobe.write_text(usual)
        run(["modprobe", "ip_vs_ovf"])


def test_the_configuration_reaches_the_kernel(world: World) -> None:
    told = IpvsDocument(scheduler="lc", strict_arp=True, tcp_timeout="15m", exclude_cidrs=("192.0.2.0/24",))
    opening = open_mode("ipvs", type(DEFAULTS)(ipvs=told))
    opened = world.node.run(opening.__enter__)
    try:
        assert sysctl("net.ipv4.conf.all.arp_announce", world.node) == "2"
        assert sysctl("net.ipv4.vs.conntrack", world.node) == "1"
        program = opened.mode.program(NodeView(settings=world.settings, frontends={(one := world.frontend()).key: one}))
        assert "-A -t 10.96.0.1:80 -s lc" in opened.mode.render(program)
        assert opened.kernel.others() == []
    finally:
        world.node.run(lambda: opening.__exit__(None, None, None))


def test_a_thousand_services_are_read_as_they_were_written(world: World, kernel: IpvsKernel) -> None:
    frontends = [world.frontend(address=f"10.96.{1 + n // 200}.{n % 200}") for n in range(1000)]
    six = (Backend(address="fd00:10:244:1::2", port=8080, node="node-1", local=True),)
    others = [world.frontend(address="fd00:10:96::1", protocol=one, cluster=six) for one in ("TCP", "UDP", "SCTP")]
    world.put(kernel, *frontends)
    world.put(kernel, *frontends, *others)
    world.put(kernel, *frontends)
    with Links(world.node) as links:
        assert len([one for one in links.addresses(DEVICE) if not one.startswith("fe80")]) == 1000
