"""`fairway switch` on a node under load: open connections and flows go on, and no newcomer is kept out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fairway.diagnose.orders import give
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.proxy.switching import Order
from tests.kernel.gated_tool import Gate
from tests.kernel.loaded_node import World, load, loaded_node, nobody_noticed
from tests.kernel.proxy_world import NODE, NODE_ADDRESS, Conversation, Proxy, nft, until

pytestmark = pytest.mark.kernel

NODE_PORT = 30080
STICKY_VIP = "10.96.7.9"
TALK_VIP = "10.96.7.10"
PAIRS = (
    ("iptables", "nft"),
    ("nftables", ""),
    ("iptables", "legacy"),
    ("iptables", "nft"),
    ("iptables", "legacy"),
    ("nftables", ""),
)
"""From nftables: each of the three to each other one."""
WITH_RELAY = (
    ("userspace", ""),
    ("iptables", "nft"),
    ("userspace", ""),
    ("iptables", "legacy"),
    ("userspace", ""),
    ("nftables", ""),
)


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    pods = [(name, NODE) for name in ("one", "two", "shell", "talk", "also")]
    return make_network(cluster(nodes=1, pods=pods))


@pytest.fixture
def world(network: RunningNetwork, tmp_path: Path) -> Iterator[World]:
    with loaded_node(network, tmp_path) as world:
        world.api.service("talk", TALK_VIP, node_port=NODE_PORT)
        world.api.endpoints("talk", network.address("talk"))
        world.api.service("sticky", STICKY_VIP, sticky=True)
        world.api.endpoints("sticky", network.address("talk"), network.address("also"))
        yield world
        for variant in ("nft", "legacy"):
            run([f"iptables-{variant}-restore"], namespace=world.node, input=EMPTY)
        nft(world.node, "flush", "ruleset")


EMPTY = "".join(f"*{table}\nCOMMIT\n" for table in ("nat", "filter", "mangle"))


def switch(place: NetworkNamespace, to: str, variant: str = "", **more: Any) -> dict[str, Any]:
    """The last word about it."""
    last: dict[str, Any] = {}
    for document in give(Order(to=to, variant=variant, **more), place):
        last |= document
    assert last.get("error", "") == "", last
    assert last["phase"] == "done"
    return last


def held(place: NetworkNamespace) -> set[str]:
    """Whose rules are in the kernel."""
    found = set()
    if "fairway" in nft(place, "list", "tables"):
        found.add("nftables")
    for variant in ("nft", "legacy"):
        if "KUBE-" in run([f"iptables-{variant}-save"], namespace=place):
            found.add(f"iptables ({variant})")
    return found


def conversations(network: RunningNetwork, stack: ExitStack) -> list[Conversation]:
    """From a pod to the cluster IP, and with session affinity, and from outside to the node port, masqueraded."""
    place = network.network.place
    servers = [place("talk"), place("also")]
    ways = (("shell", (TALK_VIP, 80)), ("shell", (STICKY_VIP, 80)), ("outside", (NODE_ADDRESS, NODE_PORT)))
    return [stack.enter_context(Conversation(place(client), address, servers)) for client, address in ways]


def test_from_each_mode_of_the_kernel_to_each_other_and_nobody_notices(world: World, network: RunningNetwork) -> None:
    with ExitStack() as stack:
        running: Proxy = stack.enter_context(world.proxy())
        talks = conversations(network, stack)
        clients = stack.enter_context(load(network))
        for mode, variant in PAIRS:
            told = switch(world.node, mode, variant)
            assert told["equivalence"]["same"]
            assert held(world.node) == {f"{mode} ({variant})" if variant else mode}
            clients.go_round()
            assert [one.still_works() for one in talks] == [True, True, True]
        assert running.get("/proxyMode") == (200, "nftables")
        # What comes and goes by our own tools is nobody else's change.
        assert {one["kind"] for one in running.status()["rounds"]} <= {"start", "change", "node", "switch"}
    nobody_noticed(clients, replacements=len(PAIRS))


def test_to_a_relay_and_from_it_and_what_it_has_begun_goes_on_in_it(world: World, network: RunningNetwork) -> None:
    with ExitStack() as stack:
        running: Proxy = stack.enter_context(world.proxy())
        talks = conversations(network, stack)
        clients = stack.enter_context(load(network, flows=0))
        for mode, variant in WITH_RELAY:
            switch(world.node, mode, variant, accept_differences=True)
            clients.go_round()
            talks += conversations(network, stack)
            assert all(one.still_works() for one in talks)
        told = "three times three conversations are in the relay, and nobody else"
        until(world.node, lambda: running.status()["relay"]["connections"] == 9, told)
    nobody_noticed(clients, replacements=len(WITH_RELAY))


def stopped_in(phase: str, world: World, running: Proxy, gate: Gate, to: tuple[str, str]) -> None:
    """Order it, until a tool has written something in that phase; then nothing goes on."""
    gate.close()
    mode, variant = to
    next(give(Order(to=mode, variant=variant), world.node))
    gate.wait()
    while running.status()["switch"]["phase"] != phase:
        gate.let_one_through()
        gate.wait()


def killed(world: World, running: Proxy, gate: Gate) -> tuple[str, str]:
    """Where it has been stopped; returns the mode that the next one is to begin in, and what is still to be left."""
    running.kill()
    gate.open()
    choice = json.loads((world.directory / "state.mode.json").read_text())
    (leaving,) = choice["leaving"]
    return choice["here"][0], leaving[0]


def test_killed_in_the_middle_of_each_phase_the_next_one_goes_on_and_nobody_notices(
    world: World, network: RunningNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(world.directory, monkeypatch, after=True)
    state = f"--state-file={world.directory / 'state.json'}"
    to_iptables, to_nftables = ("iptables", "nft"), ("nftables", "")
    with ExitStack() as stack:
        running: Proxy = stack.enter_context(world.proxy(state))
        talks = conversations(network, stack)
        clients = stack.enter_context(load(network))

        def another(mode: str) -> Proxy:
            begun: Proxy = stack.enter_context(world.proxy(state))
            assert begun.get("/proxyMode") == (200, mode)
            rules = {"iptables (nft)" if mode == "iptables" else mode}
            until(world.node, lambda: held(world.node) == rules, "only this mode's rules are here")
            clients.go_round()
            assert all(one.still_works() for one in talks)
            return begun

        stopped_in("load", world, running, gate, to_iptables)
        assert killed(world, running, gate) == ("nftables", "iptables")
        assert held(world.node) == {"nftables", "iptables (nft)"}
        running = another("nftables")
        switch(world.node, *to_iptables)
        talks += conversations(network, stack)
        stopped_in("cut over", world, running, gate, to_nftables)
        assert killed(world, running, gate) == ("iptables", "nftables")
        assert held(world.node) == {"nftables", "iptables (nft)"}
        running = another("iptables")
        stopped_in("remove", world, running, gate, to_nftables)
        assert killed(world, running, gate) == ("nftables", "iptables")
        last = another("nftables")
        assert "rules of kube-proxy's" not in last.said()
    nobody_noticed(clients, replacements=5)


def command(world: World, *arguments: str) -> str:
    return run([sys.executable, "-m", "fairway.cli.main", "switch", *arguments], namespace=world.node)


def test_a_plan_touches_nothing_and_what_differs_is_refused_until_it_is_accepted(world: World) -> None:
    with world.proxy() as running:
        planned = command(world, "--to", "iptables", "--plan")
        assert "compare:  the same for all" in planned
        assert "would:    load iptables (" in planned
        with pytest.raises(CommandFailed) as refused:
            command(world, "--to", "userspace")
        assert refused.value.exit_code == 1
        assert "--accept-differences switches all the same" in refused.value.stderr
        with pytest.raises(CommandFailed, match="is in mode nftables already"):
            command(world, "--to", "nftables")
        assert held(world.node) == {"nftables"}
        assert running.status()["switch"]["phase"] == "failed"
        assert not [one for one in running.status()["rounds"] if one["kind"] == "switch"]


def test_only_root_of_this_network_namespace_may_order_it(world: World) -> None:
    ask = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0fairway-proxy'); "
        's.sendall(b\'{"to": "iptables"}\\n\'); print(s.recv(4096).decode())'
    )
    with world.proxy():
        for who in (["setpriv", "--reuid=65534", "--clear-groups"], ["setpriv", "--bounding-set=-net_admin"]):
            said = run([*who, "/usr/bin/env", "python3", "-I", "-c", ask], namespace=world.node)
            assert json.loads(said)["error"].startswith("process ")
        assert held(world.node) == {"nftables"}


def test_the_choice_outlives_the_process_until_the_configuration_says_something_else(world: World) -> None:
    state = f"--state-file={world.directory / 'state.json'}"
    with world.proxy(state, "--proxy-mode=iptables", "--iptables-variant=nft") as running:
        assert running.stop() == 0
    with world.proxy(state) as running:
        assert held(world.node) == {"nftables"}
        assert (
            json.loads(command(world, "--to", "iptables", "--iptables-variant", "nft", "-o", "json"))["phase"] == "done"
        )
        running.kill()
    # As if it had been killed before the old rules were gone.
    nft(world.node, "add", "table", "ip", "fairway")
    kept = world.directory / "state.mode.json"
    choice = json.loads(kept.read_text())
    kept.write_text(json.dumps({**choice, "leaving": [["nftables", ""]]}))
    with world.proxy(state) as running:
        assert running.get("/proxyMode") == (200, "iptables")
        assert "has chosen mode iptables (nft)" in running.said()
        assert any("has chosen mode iptables (nft)" in one for one in running.status()["notes"])
        until(world.node, lambda: held(world.node) == {"iptables (nft)"}, "what the mode before had is gone")
    with world.proxy(state, "--proxy-mode=userspace") as running:
        assert running.get("/proxyMode") == (200, "userspace")
        assert held(world.node) == {"nftables"}
        assert running.status()["switch"]["from"] == "iptables (nft)"
        assert json.loads(kept.read_text())["said"] == ["userspace", ""]
