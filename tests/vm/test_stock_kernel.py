"""Scenarios on Debian's stock kernel, which has all at once: nf_tables, IPVS, and SCTP sockets.

One network for all modes, each of which starts from nothing: what the one before it had in the kernel is taken away.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from msgspec.structs import replace

from fairway.conform.scenario import NODE_UNDER_TEST, STAGE, scenarios
from fairway.conform.stage import Stage, furnish, opened
from fairway.kernel.command import run
from fairway.kernel.conntrack import Match
from fairway.kernel.contract import Opened
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from fairway.lab.vm.guest import SHARED
from fairway.lab.vm.init import STAGE as BELOW
from fairway.lab.vm.stock import found
from fairway.model.view import Backend, Relaying
from fairway.modes.registry import MODES
from fairway.proxy.document import document_at
from fairway.proxy.handover import Handover
from fairway.proxy.kernels import open_mode

# On an emulated processor, of which there may be half: a minute for most of them, where nothing is wrong.
pytestmark = [pytest.mark.qemu, pytest.mark.timeout(600)]

SCENARIOS = {one.name: one for one in scenarios()}
WITH_SCTP = [
    one.name for one in scenarios() if "sctp" in "".join(step.file("packets", "txt").read_text() for step in one.steps)
]
ON_IPVS = ("node-port-from-outside", "dual-stack", "endpoints-change", "hairpin", "load-balancer-source-ranges")
SWITCHED = "10.96.9.9"
ROUND = ("nftables", "ipvs", "userspace", "ipvs", "iptables-nft", "ipvs", "nftables")
OPENINGS = {
    "nftables": ("nftables", ""),
    "iptables-nft": ("iptables", "nft"),
    "iptables-legacy": ("iptables", "legacy"),
    "ipvs": ("ipvs", ""),
    "userspace": ("userspace", ""),
}


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    made = make_network(STAGE)
    furnish(made)
    return made


@contextmanager
def alone(network: RunningNetwork, name: str) -> Iterator[Stage]:
    mode, variant = OPENINGS[name]
    with opened(network, MODES[mode], document_at({"iptables.variant": variant})) as stage:
        try:
            yield stage
        finally:
            for node in stage.nodes.values():
                node.namespace.run(node.kernel.clean)


@pytest.fixture(scope="module")
def ipvs(network: RunningNetwork) -> Iterator[Stage]:
    with alone(network, "ipvs") as stage:
        yield stage


def test_this_is_debians_kernel() -> None:
    stock = found()
    assert stock is not None
    assert os.uname().release == stock.release
    assert SHARED.is_mount()
    with pytest.raises(OSError, match="Read-only"):
        (BELOW / "etc/hostname").write_text("the machine's own files are out of reach")


@pytest.mark.parametrize("name", OPENINGS)
def test_sctp_goes_where_every_mode_says(network: RunningNetwork, name: str) -> None:
    with alone(network, name) as stage:
        assert "SCTP" in stage.protocols
        for scenario in WITH_SCTP:
            for step in SCENARIOS[scenario].steps:
                assert stage.play(step) == []


def test_sctp_flows_at_a_backend_that_has_left_are_forgotten(network: RunningNetwork) -> None:
    with alone(network, "nftables") as stage:
        (step,) = SCENARIOS["sctp"].steps
        stage.load(step.views, as_change=False)
        client = network.client_from("client-1")
        answered: set[str] = set()
        for _ in range(40):  # that only one of two is drawn so often does not happen
            answered.add(client.ask("10.96.1.90", 2905, "SCTP").pod)
            if len(answered) > 1:
                break
        assert answered == {"web-1:8080", "web-2:8080"}
        conntrack = stage.nodes[NODE_UNDER_TEST].conntrack
        service = Match("SCTP", "10.96.1.90", 2905)
        assert conntrack.forget(Match("SCTP", "10.96.1.90", 2905, "10.244.2.3", 8080)) > 0
        assert {one.reply_source for one in conntrack.flows(service)} == {"10.244.1.3"}


def test_tables_of_a_kernel_before_linux_6_9_have_no_owner_and_it_is_said() -> None:
    with open_mode("nftables") as opened:
        assert opened.ownership
        assert opened.ownership() == (False, "this kernel lets no table outlive its owner; Linux 6.9 and later do")


@pytest.mark.parametrize("scenario", ON_IPVS)
def test_ipvs_beside_nf_tables(ipvs: Stage, scenario: str) -> None:
    for step in SCENARIOS[scenario].steps:
        assert ipvs.play(step) == []
    assert "chain KUBE-SERVICES" in run(["nft", "list", "ruleset"], namespace=ipvs.nodes[NODE_UNDER_TEST].namespace)


def test_a_relay_works_beside_ipvs(ipvs: Stage) -> None:
    """The listener is a virtual server's only real one, at an address of the loopback interface."""
    (step,) = SCENARIOS["same-node"].steps
    node = ipvs.nodes[NODE_UNDER_TEST]
    view = step.view
    relayed = {key: replace(one, relaying=Relaying(access_log=True)) for key, one in view.frontends.items()}
    node.load(replace(view, frontends=relayed), as_change=False)
    assert node.drift() == ""
    frontend = next(iter(relayed.values()))
    answer = ipvs.network.client_from("client-1").ask(frontend.address, frontend.port)
    assert (answer.pod, answer.client_address) == ("web-1:8080", "10.244.1.1")


def test_connections_go_on_from_each_mode_of_nf_tables_to_ipvs_and_back(network: RunningNetwork) -> None:
    node, client, server = (network.network.place(one) for one in (NODE_UNDER_TEST, "client-1", "web-1"))
    view = SCENARIOS["same-node"].steps[0].view
    backend = Backend(address=network.address("web-1"), port=7070, node=NODE_UNDER_TEST, local=True)
    frontend = replace(next(iter(view.frontends.values())), address=SWITCHED, cluster=(backend,), local=(backend,))
    view = replace(view, frontends={frontend.key: frontend})

    def connect() -> tuple[socket.socket, socket.socket]:
        made = stack.enter_context(client.socket())
        made.settimeout(20.0)
        made.connect((SWITCHED, frontend.port))
        return made, stack.enter_context(listener.accept()[0])

    def still_work() -> bool:
        for pair in pairs:
            for one, other in (pair, pair[::-1]):
                one.sendall(b"still there?")
                if other.recv(64) != b"still there?":
                    return False
        return True

    with ExitStack() as stack:
        listener = stack.enter_context(server.socket())
        listener.bind(("0.0.0.0", 7070))
        listener.listen()
        modes = {name: stack.enter_context(mode_in(node, name)) for name in dict.fromkeys(ROUND)}
        of = modes[ROUND[0]]
        node.run(lambda: of.kernel.apply(of.mode.plan(of.kernel.read_back(), of.mode.program(view))))
        pairs = [connect()]
        for name in ROUND[1:]:
            handover = Handover(of, modes[name], in_place=False)
            node.run(partial(handover.perform, view))
            assert handover.retired
            of = modes[name]
            pairs.append(connect())
            assert still_work()
        drain = handover.drain
        assert drain is not None
        assert node.run(drain.left) == ROUND.count("ipvs")
        node.run(drain.finish)
        node.run(of.kernel.clean)


@contextmanager
def mode_in(node: NetworkNamespace, name: str) -> Iterator[Opened]:
    mode, variant = OPENINGS[name]
    opening = open_mode(mode, document_at({"iptables.variant": variant}))
    found = node.run(opening.__enter__)
    try:
        yield found
    finally:
        node.run(lambda: opening.__exit__(None, None, None))
