"""A machine that more than one mode has worked on: which of them a proxy begins in, and what goes when it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.namespaces import NetworkNamespace
from fairway.model.view import NodeSettings, NodeView
from fairway.proxy.choice import Choice, ChoiceFile, this_kernel
from fairway.proxy.configuration import Configuration, configure
from fairway.proxy.flags import Flags
from fairway.proxy.kernels import open_mode
from fairway.proxy.machine import open_machine
from fairway.proxy.site import Target

pytestmark = pytest.mark.kernel

EMPTY = NodeView(settings=NodeSettings(name="node", addresses=("192.168.0.2",)), frontends={})
NFTABLES, IPTABLES = Target("nftables"), Target("iptables", "nft")


@pytest.fixture
def machine() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-machine-{os.getpid()}") as namespace:
        yield namespace


def configured(mode: str) -> Configuration:
    return configure(Flags(proxy_mode=mode), "node")


def load(machine: NetworkNamespace, mode: str) -> None:
    """What a proxy in this mode leaves behind."""

    def work() -> None:
        with open_mode(mode) as opened:
            plan = opened.mode.plan(opened.kernel.read_back(), opened.mode.program(EMPTY))
            opened.kernel.apply(plan)

    machine.run(work)


def held(machine: NetworkNamespace) -> set[str]:
    ruleset = run(["nft", "list", "ruleset"], namespace=machine)
    return {name for name in ("table ip fairway", "KUBE-SERVICES") if name in ruleset}


def begun(machine: NetworkNamespace, mode: str, path: Path | None) -> tuple[Choice, Target]:
    """What a proxy of that configuration begins with, and where it goes."""

    def work() -> tuple[Choice, Target]:
        with open_machine(configured(mode), path) as found:
            return found.start.choice, found.start.wanted

    return machine.run(work)


def test_a_mode_that_retires_takes_what_is_its_own_and_leaves_the_other(machine: NetworkNamespace) -> None:
    def retire(mode: str) -> None:
        with open_mode(mode) as opened:
            assert opened.kernel.retire({}) is None

    load(machine, "nftables")
    load(machine, "iptables")
    machine.run(lambda: retire("nftables"))
    assert held(machine) == {"KUBE-SERVICES"}
    load(machine, "nftables")
    machine.run(lambda: retire("iptables"))
    assert held(machine) == {"table ip fairway"}


def test_without_a_record_the_configuration_counts_and_only_what_is_nobody_elses_is_left(
    machine: NetworkNamespace,
) -> None:
    assert begun(machine, "nftables", None)[0].leaving == ()
    choice, wanted = begun(machine, "iptables", None)
    assert (choice.here, wanted) == (IPTABLES, Target("iptables"))
    assert choice.leaving == (NFTABLES,)


def test_the_later_word_counts_and_the_mode_that_has_the_clients_comes_first(
    machine: NetworkNamespace, tmp_path: Path
) -> None:
    file = ChoiceFile(tmp_path / "node.mode.json")
    kernel = machine.run(this_kernel)
    file.save(Choice(said=NFTABLES, here=IPTABLES, leaving=(NFTABLES,), kernel=kernel))
    choice, wanted = begun(machine, "nftables", file.path)
    assert (choice.here, wanted, choice.is_ordered) == (IPTABLES, IPTABLES, True)
    assert choice.leaving == (NFTABLES,)
    choice, wanted = begun(machine, "userspace", file.path)
    assert (choice.here, wanted) == (IPTABLES, Target("userspace"))
    file.save(Choice(said=NFTABLES, here=IPTABLES, leaving=(NFTABLES,), kernel="before the boot"))
    assert begun(machine, "userspace", file.path)[0].here == Target("userspace")
    assert begun(machine, "nftables", file.path)[0].here == IPTABLES
