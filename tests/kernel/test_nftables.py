"""nf_tables of a real kernel: what nft shows of ours, what errors say, who else touched it."""

from __future__ import annotations

import errno
import os
import re
import select
import sys
from collections.abc import Iterator

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.features import nftables_features
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nfnetlink import KernelRefused
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_watcher import Intrusion, Watcher
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.tables import Element

pytestmark = pytest.mark.kernel

MODE = NftablesMode()
SETTINGS = NodeSettings(
    name="node-1",
    addresses=("192.168.0.2", "fd00::2"),
    pod_networks=("10.244.0.0/16",),
    service_networks=("10.96.0.0/16",),
)


def program(backends: int = 2) -> Program:
    forward = Action(kind=ActionKind.FORWARD, masquerade=True)
    one = Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address="10.96.0.1",
        protocol="TCP",
        port=80,
        service=Key("shop", "web"),
        port_name="http",
        cluster=tuple(Backend(address=f"10.244.{n >> 8}.{n & 255}", port=8080) for n in range(backends)),
        pod=forward,
        node=forward,
        outside=forward,
    )
    return MODE.program(NodeView(settings=SETTINGS, frontends={one.key: one}))


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-nft-{os.getpid()}") as made:
        yield made


@pytest.fixture
def kernel(namespace: NetworkNamespace) -> Iterator[Nftables]:
    with namespace.run(Nftables) as opened:
        yield opened


def test_nft_lists_names_fields_and_comments(namespace: NetworkNamespace, kernel: Nftables) -> None:
    kernel.apply(MODE.plan(MODE.empty(), program()))
    listed = run(["nft", "list", "ruleset"], namespace=namespace)
    assert "typeof ip daddr . meta l4proto . th dport : numgen random mod 65536" in listed
    assert "typeof ip6 daddr . meta l4proto . th dport . numgen random mod 65536 : ip6 daddr . th dport" in listed
    assert 'elements = { 10.96.0.1 . tcp . 80 comment "shop/web:http" : 2 }' in listed
    assert "Kubernetes Services, by Fairway" in listed
    assert "meta priority set numgen random mod 2 goto deliver" in listed
    assert "dnat ip to ip daddr . meta l4proto . th dport . meta priority map @slots" in listed


def test_nft_lists_every_rule_in_the_words_of_the_program(namespace: NetworkNamespace, kernel: Nftables) -> None:
    kernel.apply(MODE.plan(MODE.empty(), program()))
    listed = [line.strip() for line in run(["nft", "list", "ruleset"], namespace=namespace).splitlines()]
    ours = [line.strip() for line in MODE.render(program()).splitlines()]
    rules = [line for line in ours if line and not line.endswith((",", "{", "}")) and ", # " not in line]
    assert len(rules) > 60
    # nft 1.0.6 names the types instead of the fields when a key has more than four
    five = [line for line in rules if line.startswith("typeof") and line.count(" . ") == 4 and " : " not in line]
    assert len(five) == 4
    assert [line for line in rules if line not in (*listed, *five)] == []


def test_a_service_with_ten_thousand_backends_fits(kernel: Nftables) -> None:
    wanted = program(10_000)
    kernel.apply(MODE.plan(MODE.empty(), wanted))
    assert not MODE.plan(Program(kernel.read(), SETTINGS), wanted)


def test_a_refusal_names_the_command_and_the_element(kernel: Nftables) -> None:
    wanted = program()
    kernel.apply(MODE.plan(MODE.empty(), wanted))
    slots = wanted.tables()["ip"].sets["slots"]
    there = list(wanted.tables()["ip"].elements["slots"].values())
    missing = Element("slots", there[0].key[:-4] + b"\x09\0\0\0")
    with pytest.raises(KernelRefused) as caught:
        kernel.apply(c.Plan((c.DeleteElements("ip", "fairway", slots, (*there, missing)),)))
    assert str(caught.value) == (
        "delete element ip fairway slots { 10.96.0.1 . tcp . 80 . 9 }: "
        "the kernel answered ENOENT: No such file or directory"
    )


def test_a_plan_can_be_checked_without_being_applied(kernel: Nftables) -> None:
    kernel.check(MODE.plan(MODE.empty(), program()))
    assert kernel.read() == {}
    with pytest.raises(KernelRefused) as caught:
        kernel.check(c.Plan((c.DeleteTable("ip", "fairway"),)))
    assert caught.value.code == errno.ENOENT


def test_the_kernel_under_test_has_all_the_features_and_asking_leaves_nothing(namespace: NetworkNamespace) -> None:
    features = namespace.run(nftables_features)
    assert [feature.because for feature in features] == ["", ""]
    assert run(["nft", "list", "ruleset"], namespace=namespace) == ""


@pytest.mark.parametrize(
    "off", ["add table ip fairway { flags dormant; }", "add chain ip fairway prerouting { policy drop; }"]
)
def test_what_somebody_switches_off_is_switched_on_again(
    off: str, namespace: NetworkNamespace, kernel: Nftables
) -> None:
    wanted = program()
    kernel.apply(MODE.plan(MODE.empty(), wanted))
    run(["nft", off], namespace=namespace)
    held = Program(kernel.read(), SETTINGS)
    assert held.tables() != wanted.tables()
    kernel.apply(MODE.plan(held, wanted))
    assert kernel.read() == wanted.tables()
    assert "dormant" not in (listed := run(["nft", "list", "ruleset"], namespace=namespace))
    assert "policy drop" not in listed


def test_the_watcher_names_who_changed_our_table_and_hears_nothing_of_others(
    namespace: NetworkNamespace, kernel: Nftables
) -> None:
    watcher = namespace.run(lambda: Watcher(os.getpid()))
    try:
        kernel.apply(MODE.plan(MODE.empty(), program()))
        assert _next(watcher) == []
        run(["nft", "add", "table", "ip", "somebody"], namespace=namespace)
        assert _next(watcher) == []
        run(["nft", "flush", "map", "ip", "fairway", "slots"], namespace=namespace)
        (intrusion,) = _next(watcher)
        assert intrusion.generation.program == "nft"
        assert "nft (pid " in str(intrusion)
        assert not watcher.lost
    finally:
        watcher.close()
    repair = MODE.plan(Program(kernel.read(), SETTINGS), program())
    assert len(repair) == 2
    assert "add element ip fairway slots" in repair.render()


def test_a_watcher_that_is_deaf_to_us_loses_nothing_during_a_full_load(
    namespace: NetworkNamespace, kernel: Nftables
) -> None:
    watcher = namespace.run(lambda: Watcher(os.getpid(), deaf_to=kernel.port))
    try:
        kernel.apply(MODE.plan(MODE.empty(), program(20_000)))
        assert select.select([watcher], [], [], 0)[0] == []
        run(["nft", "flush", "map", "ip", "fairway", "frontends"], namespace=namespace)
        assert [one.generation.program for one in _next(watcher)] == ["nft"]
        assert not watcher.lost
    finally:
        watcher.close()


def test_a_watcher_loses_nothing_while_somebody_loads_thousands_of_rules(
    namespace: NetworkNamespace, kernel: Nftables
) -> None:
    kernel.apply(MODE.plan(MODE.empty(), program()))
    watcher = namespace.run(lambda: Watcher(os.getpid()))
    try:
        rules = "ip daddr 192.0.2.1 accept\n" * 3000
        run(["nft", "-f", "-"], namespace=namespace, input=f"table ip somebody {{\nchain c {{\n{rules}}}\n}}\n")
        run(["nft", "flush", "map", "ip", "fairway", "slots"], namespace=namespace)
        assert [one.generation.program for one in _next(watcher)] == ["nft"]
        assert not watcher.lost
    finally:
        watcher.close()


def test_a_watcher_that_was_away_knows_that_it_may_have_missed_somebody_and_hears_again(
    namespace: NetworkNamespace, kernel: Nftables
) -> None:
    kernel.apply(MODE.plan(MODE.empty(), program()))
    watcher = namespace.run(lambda: Watcher(os.getpid()))
    try:
        with watcher.away():
            run(["nft", "flush", "map", "ip", "fairway", "slots"], namespace=namespace)
        assert _next(watcher) == []
        assert watcher.lost
        run(["nft", "flush", "map", "ip", "fairway", "frontends"], namespace=namespace)
        assert [one.generation.program for one in _next(watcher)] == ["nft"]
    finally:
        watcher.close()


def _next(watcher: Watcher) -> list[Intrusion]:
    """What the notifications of the last command say; the kernel sent all of them before the command ended."""
    found: list[Intrusion] = []
    while select.select([watcher], [], [], 0)[0]:
        found += watcher.wait(0)
    return found


def test_who_may_not_is_told_once_and_what_would_help() -> None:
    program = "from fairway.kernel.nftables_mode import open_nftables as o; o().__enter__()"
    with pytest.raises(CommandFailed) as failed:
        run(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", program])
    _, _, told = failed.value.stderr.partition("this machine cannot do the nftables mode:\n")
    assert re.fullmatch(r".*Operation not permitted; run it as root, or with CAP_NET_ADMIN\n", told)
