"""A machine that more than one mode has worked on: what is ours goes, what may be somebody else's stays."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.namespaces import NetworkNamespace
from fairway.model.view import NodeSettings, NodeView
from fairway.proxy.configuration import Configuration, configure
from fairway.proxy.flags import Flags
from fairway.proxy.kernels import open_mode
from fairway.proxy.machine import clean_everything, clean_other_modes

pytestmark = pytest.mark.kernel

EMPTY = NodeView(settings=NodeSettings(name="node", addresses=("192.168.0.2",)), frontends={})


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


def test_another_modes_rules_go_when_they_can_only_be_ours(machine: NetworkNamespace) -> None:
    load(machine, "nftables")
    load(machine, "iptables")
    assert held(machine) == {"table ip fairway", "KUBE-SERVICES"}
    assert machine.run(lambda: clean_other_modes(configured("nftables"))) == []
    assert machine.run(lambda: clean_other_modes(configured("iptables"))) == ["2 nftables tables"]
    assert held(machine) == {"KUBE-SERVICES"}


def test_cleanup_leaves_chains_that_may_be_kube_proxys_unless_they_are_asked_for(machine: NetworkNamespace) -> None:
    load(machine, "iptables")
    load(machine, "nftables")
    machine.run(lambda: clean_everything(configured("nftables")))
    assert held(machine) == {"KUBE-SERVICES"}
    assert machine.run(lambda: clean_everything(configured("iptables"))) != []
    assert held(machine) == set()
