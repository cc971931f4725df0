"""The machine in memory accepts, refuses and holds what both variants of iptables do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fairway.conform.scenario import scenarios
from fairway.kernel import namespaces
from fairway.kernel.contract import ApplyFailed, Kernel
from fairway.kernel.fake_iptables import FakeIptables
from fairway.kernel.iptables_mode import open_iptables_mode
from fairway.kernel.xtables import VARIANTS
from fairway.model.view import NodeView
from fairway.modes.iptables import IptablesMode, Options, Plan, Program
from fairway.modes.iptables.commands import AddRule, Command, DeleteChain, DeleteRule, MakeChain
from fairway.modes.xtables import HOOKS

AnyKernel = Kernel[Program, Plan]
MODE = IptablesMode()
CHAIN, OTHER = "KUBE-SVC-AAAAAAAAAAAAAAAA", "KUBE-SEP-AAAAAAAAAAAAAAAA"
MARK = "-s 10.244.1.7/32 -j MARK --set-xmark 0x4000/0x4000"
STEPS = [pytest.param(step.view, id=step.name) for one in scenarios() for step in one.steps if one.name in (
    "load-balancer-source-ranges", "session-affinity", "weights", "hostile-names", "dual-stack", "many-backends",
    "three-protocols-on-one-port", "ping", "localhost-node-ports", "pods-by-bridge",
)]  # fmt: skip


@pytest.fixture(params=["fake", *(pytest.param(one, marks=pytest.mark.kernel) for one in VARIANTS)])
def kernel(request: pytest.FixtureRequest) -> Iterator[AnyKernel]:
    if request.param == "fake":
        yield FakeIptables()
        return
    with ExitStack() as stack:
        namespace = stack.enter_context(namespaces.created(f"fwt-ipt-{os.getpid()}"))
        opening = open_iptables_mode(Options(), request.param)
        opened = namespace.run(opening.__enter__)
        stack.callback(lambda: namespace.run(lambda: opening.__exit__(None, None, None)))
        yield Inside(opened.kernel, namespace)


class Inside:
    """A kernel whose every call is made in a namespace: its tools belong to the namespace of the thread."""

    def __init__(self, kernel: AnyKernel, namespace: namespaces.NetworkNamespace) -> None:
        self._kernel, self._namespace = kernel, namespace

    @property
    def at_once(self) -> int:
        return self._kernel.at_once

    def read_back(self) -> Program:
        return self._namespace.run(self._kernel.read_back)

    def apply(self, plan: Plan) -> None:
        self._namespace.run(lambda: self._kernel.apply(plan))

    def check(self, plan: Plan) -> None:
        self._namespace.run(lambda: self._kernel.check(plan))


def do(kernel: AnyKernel, *commands: Command) -> dict[str, tuple[str, ...]]:
    """The chains of IPv4's nat table that are ours, afterwards."""
    kernel.apply(Plan(commands))
    state = kernel.read_back().state()["ip"]
    return {place.chain: rules for place, rules in state.items() if place.table == "nat" and place.chain not in HOOKS}


@pytest.mark.parametrize("view", STEPS)
def test_what_is_written_is_what_is_read_back_to_the_letter(kernel: AnyKernel, view: NodeView) -> None:
    wanted = MODE.program(view)
    kernel.apply(MODE.plan(MODE.empty(), wanted))
    assert MODE.plan(kernel.read_back(), wanted).render() == ""
    kernel.apply(MODE.plan(wanted, MODE.empty()))
    assert MODE.plan(kernel.read_back(), MODE.empty()).render() == ""


def test_rules_go_in_and_out_at_their_places(kernel: AnyKernel) -> None:
    made = do(
        kernel,
        MakeChain("ip", "nat", CHAIN),
        *(AddRule("ip", "nat", CHAIN, f"-s 10.0.0.{n}/32 -j RETURN") for n in (1, 3)),
    )
    assert made == {CHAIN: ("-s 10.0.0.1/32 -j RETURN", "-s 10.0.0.3/32 -j RETURN")}
    changed = do(
        kernel,
        DeleteRule("ip", "nat", CHAIN, "-s 10.0.0.1/32 -j RETURN"),
        AddRule("ip", "nat", CHAIN, "-s 10.0.0.4/32 -j RETURN", at=2),
        AddRule("ip", "nat", CHAIN, "-s 10.0.0.2/32 -j RETURN", at=1),
    )
    assert changed == {CHAIN: ("-s 10.0.0.2/32 -j RETURN", "-s 10.0.0.3/32 -j RETURN", "-s 10.0.0.4/32 -j RETURN")}


def test_a_chain_that_is_made_again_is_empty(kernel: AnyKernel) -> None:
    do(kernel, MakeChain("ip", "nat", CHAIN), AddRule("ip", "nat", CHAIN, MARK))
    assert do(kernel, MakeChain("ip", "nat", CHAIN)) == {CHAIN: ()}


def test_a_chain_and_what_leads_to_it_go_together(kernel: AnyKernel) -> None:
    do(kernel, MakeChain("ip", "nat", CHAIN), MakeChain("ip", "nat", OTHER), AddRule("ip", "nat", CHAIN, f"-j {OTHER}"))
    left = do(
        kernel,
        DeleteRule("ip", "nat", CHAIN, f"-j {OTHER}"),
        MakeChain("ip", "nat", OTHER),
        DeleteChain("ip", "nat", OTHER),
    )
    assert left == {CHAIN: ()}


@pytest.mark.parametrize(
    "command",
    [
        AddRule("ip", "nat", CHAIN, f"-j {OTHER}"),
        AddRule("ip", "nat", OTHER, MARK),
        AddRule("ip", "nat", CHAIN, MARK, at=9),
        DeleteRule("ip", "nat", CHAIN, "-j RETURN"),
        DeleteChain("ip", "nat", OTHER),
        DeleteChain("ip", "nat", CHAIN),
    ],
    ids=["to no chain", "in no chain", "past the end", "no such rule", "no such chain", "a chain with rules"],
)
def test_what_cannot_be_done_is_refused_with_the_rest_of_its_table(kernel: AnyKernel, command: Command) -> None:
    before = do(kernel, MakeChain("ip", "nat", CHAIN), AddRule("ip", "nat", CHAIN, MARK))
    with pytest.raises(ApplyFailed):
        kernel.apply(Plan((AddRule("ip", "nat", CHAIN, "-j ACCEPT"), command)))
    assert do(kernel) == before


def test_a_check_changes_nothing(kernel: AnyKernel) -> None:
    kernel.check(Plan((MakeChain("ip", "nat", CHAIN),)))
    assert do(kernel) == {}
