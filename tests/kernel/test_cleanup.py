"""What proxies have left goes from a machine, and everything else stays: for each way to leave it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fairway.cli.main import run as fairway
from fairway.conform.scenario import scenarios
from fairway.diagnose.leftovers import Plan, look, remove
from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.xtables import VARIANTS, Variant
from fairway.proxy.claim import Claim
from fairway.proxy.kernels import open_mode
from fairway.relay.kernel import add_addresses

pytestmark = pytest.mark.kernel

VIEW = next(one for one in scenarios() if one.name == "dual-stack").steps[0].view
FOREIGN = """\
*filter
:DOCKER-USER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -m comment --comment "kubernetes service portals" -j RETURN
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:KUBE-HOSTPORTS - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -j KUBE-HOSTPORTS
COMMIT
"""
KUBE_PROXYS = """\
*filter
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p udp -m comment --comment "a \\"; reboot; $(reboot) `reboot`" -m udp -j DNAT --to-destination 127.0.0.1:7001
-A KUBE-SERVICES -d 192.0.2.7/32 -p udp -m udp --dport 53 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-AAAAAAAAAAAAAAAA -m comment --comment "shop/dns" -j KUBE-SEP-AAAAAAAAAAAAAAAA
COMMIT
"""  # noqa: E501
TABLES = """
table ip kube-proxy {
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
  chain nat-output { type nat hook output priority -100; jump services; }
}
table ip6 kube-proxy {
}
table inet mine {
  chain input { type filter hook input priority 0; tcp dport 22 accept; }
}
"""


@pytest.fixture
def machine() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-cleanup-{os.getpid()}") as namespace:
        with Links(namespace) as links:
            links.set_up("lo")
        yield namespace


def cleaned(machine: NetworkNamespace, *, force: bool = False) -> tuple[Plan, list[str]]:
    """The plan, and what went wrong."""

    def work() -> tuple[Plan, list[str]]:
        plan = look(force=force)
        return plan, [error for _, error in remove(plan, force=force) if error]

    return machine.run(work)


def rules(machine: NetworkNamespace, variant: Variant) -> set[tuple[str, str, str]]:
    """Family, table, and each chain and rule, without what only says how the tables are."""
    found = set()
    for tool in ("iptables", "ip6tables"):
        table = ""
        for line in run([f"{tool}-{variant}-save"], namespace=machine).splitlines():
            if line.startswith("*"):
                table = line
            elif line.startswith("-A") or (line.startswith(":") and " - " in line):
                found.add((tool, table, line))
    return found


def restore(machine: NetworkNamespace, variant: Variant, text: str) -> None:
    for tool in ("iptables", "ip6tables"):
        six = text.replace("192.0.2.7/32", "2001:db8::7/128").replace("127.0.0.1:7001", "[::1]:7001")
        run(
            [f"{tool}-{variant}-restore", "--noflush"],
            namespace=machine,
            input=text if tool == "iptables" else six,
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_what_is_foreign_is_left_of_iptables(machine: NetworkNamespace, variant: Variant) -> None:
    restore(machine, variant, FOREIGN)
    before = rules(machine, variant)
    restore(machine, variant, KUBE_PROXYS)
    assert rules(machine, variant) > before
    plan, errors = cleaned(machine)
    assert errors == []
    assert {one.place.split()[0] for one in plan.leftovers} == {f"iptables-{variant}"}
    assert rules(machine, variant) == before
    again, errors = cleaned(machine)
    assert (again.leftovers, errors) == ((), [])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_chain_that_others_lead_to_stays_whole(machine: NetworkNamespace, variant: Variant) -> None:
    restore(machine, variant, KUBE_PROXYS)
    restore(machine, variant, "*nat\n-A OUTPUT -d 192.0.2.7/32 -j KUBE-SVC-AAAAAAAAAAAAAAAA\nCOMMIT\n")
    plan, errors = cleaned(machine)
    assert errors == []
    assert {name for _, name, _ in plan.kept} == {"KUBE-SVC-AAAAAAAAAAAAAAAA", "KUBE-SEP-AAAAAAAAAAAAAAAA"}
    left = {line for _, _, line in rules(machine, variant) if line.startswith("-A")}
    assert {line.split()[1] for line in left} == {
        "OUTPUT",
        "KUBE-SVC-AAAAAAAAAAAAAAAA",
        "KUBE-SEP-AAAAAAAAAAAAAAAA",
    }


def test_tables_of_proxies_go_and_others_stay(machine: NetworkNamespace) -> None:
    run(["nft", "-f", "-"], namespace=machine, input=TABLES)
    plan, errors = cleaned(machine)
    assert errors == []
    assert [one.names for one in plan.leftovers] == [("table ip kube-proxy",), ("table ip6 kube-proxy",)]
    assert run(["nft", "list", "tables"], namespace=machine).split("\n") == ["table inet mine", ""]


@pytest.mark.parametrize("mode", ["nftables", "iptables", "userspace"])
def test_nothing_of_a_mode_of_ours_is_left(machine: NetworkNamespace, mode: str) -> None:
    def load() -> None:
        add_addresses()
        with open_mode(mode) as opened:
            opened.kernel.apply(opened.mode.plan(opened.kernel.read_back(), opened.mode.program(VIEW)))

    machine.run(load)
    plan, errors = cleaned(machine)
    assert errors == []
    assert {one.owner.split()[0] for one in plan.leftovers} == {"Fairway"}
    assert "169.254.77.77/32" in plan.leftovers[-1].names
    ruleset = run(["nft", "list", "ruleset"], namespace=machine)
    assert "KUBE-" not in ruleset
    assert "fairway" not in ruleset
    with Links(machine) as links:
        assert links.addresses("lo") == ["127.0.0.1/8", "::1/128"]


def test_flows_to_what_went_are_forgotten_and_those_of_others_are_not(machine: NetworkNamespace) -> None:
    restore(machine, "nft", KUBE_PROXYS)
    run(
        ["iptables-nft", "-t", "nat", "-A", "OUTPUT", "-d", "192.0.2.8/32", "-p", "udp", "-j", "DNAT"]
        + ["--to-destination", "127.0.0.1:7001"],
        namespace=machine,
    )
    with Links(machine) as links:
        for address in ("192.0.2.7/32", "192.0.2.8/32"):
            links.add_address("lo", address)
    with ExitStack() as stack:
        server, client = (stack.enter_context(machine.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        server.bind(("127.0.0.1", 7001))
        server.settimeout(30)
        for address in ("192.0.2.7", "192.0.2.8"):
            client.sendto(b"?", (address, 53))
            server.recv(1)
        plan, errors = cleaned(machine)
    assert errors == []
    assert plan.leftovers[-1].place == "conntrack"
    assert [name.split()[3] for name in plan.leftovers[-1].names] == ["192.0.2.7:53"]
    assert machine.run(lambda: look().leftovers) == ()


def test_what_a_proxy_uses_is_told_and_stays_unless_forced(machine: NetworkNamespace) -> None:
    restore(machine, "nft", KUBE_PROXYS)
    with machine.run(Claim):
        plan, errors = cleaned(machine)
        assert errors == []
        assert {one.in_use for one in plan.leftovers} == {
            f"Fairway, which does not tell its mode (process {os.getpid()})"
        }
        assert plan.going(force=False) == []
        assert cleaned(machine, force=True)[1] == []
        assert machine.run(lambda: look().leftovers) == ()


def test_a_kube_proxy_of_this_namespace_is_seen_and_one_of_another_is_not(
    machine: NetworkNamespace, tmp_path: Path
) -> None:
    program = tmp_path / "kube-proxy"
    shutil.copy(shutil.which("cat") or "/bin/cat", program)
    run(["nft", "-f", "-"], namespace=machine, input=TABLES)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert process.stdin
        assert process.stdout
        # It has its name only when it runs: what it echoes says so.
        process.stdin.write(b"!")
        assert process.stdout.read(1) == b"!"
        return process

    with start():  # of the namespace of the tests
        assert {one.in_use for one in machine.run(look).leftovers} == {""}
    with machine.run(start) as process:
        expected = f"kube-proxy, which does not tell its mode (process {process.pid})"
        assert {one.in_use for one in machine.run(look).leftovers} == {expected}


def test_somebody_at_kube_proxys_port_counts_as_one(machine: NetworkNamespace) -> None:
    with machine.socket(socket.AF_INET) as listening:
        listening.bind(("127.0.0.1", 10256))
        listening.listen()
        assert [one.program for one in machine.run(look).running] == ["kube-proxy"]


def test_the_command_tells_and_removes(machine: NetworkNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    restore(machine, "nft", FOREIGN + KUBE_PROXYS)
    assert machine.run(lambda: fairway(["cleanup", "--plan"])) == 1
    said = capsys.readouterr().out
    assert "would remove: iptables-nft ip nat: KUBE-MARK-MASQ, KUBE-NODEPORTS" in said
    assert "stays: iptables-nft ip filter: KUBE-FIREWALL: the kubelet has a chain of that name." in said
    assert machine.run(lambda: fairway(["cleanup", "--output", "json"])) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["removed"] for one in document["leftovers"]} == {True}
    assert machine.run(lambda: fairway(["cleanup", "--plan"])) == 0
    assert "nothing stale is here" in capsys.readouterr().out
