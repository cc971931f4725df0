"""iptables beside other users of it: their rules stay, what they change of ours is noticed, locks are waited for."""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairway.conform.scenario import scenarios
from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.contract import ApplyFailed, Unsuitable
from fairway.kernel.iptables_mode import IptablesKernel, open_iptables_mode
from fairway.kernel.iptables_sentry import Generations, Sizes
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nftables import Nftables
from fairway.kernel.xtables import VARIANTS, Variant, open_tools
from fairway.model.view import FrontendKey
from fairway.modes.iptables import IptablesMode, Options, Program
from tests.unit.test_modes_iptables_plan import holding

pytestmark = pytest.mark.kernel

PATIENCE = 30.0
VIEW = next(one for one in scenarios() if one.name == "load-balancer-source-ranges").steps[0].view
FOREIGN = "-s 203.0.113.99/32 -j DROP"
LOCK = Path("/run/xtables.lock")


@dataclass
class Machine:
    """One variant in a namespace of its own; it holds what a Service needs."""

    variant: Variant
    place: NetworkNamespace
    kernel: IptablesKernel
    mode: IptablesMode
    program: Program

    def iptables(self, *words: str) -> str:
        """What somebody else does."""
        return run([f"iptables-{self.variant}", *words], namespace=self.place)

    def heard(self) -> list[str]:
        """What the kernel side says of others, when it has something to say; it hears of our own changes, too."""
        sentry = self.kernel.sentry
        if isinstance(sentry, Sizes):
            self.place.run(sentry.rounds.look)
        while select.select([self.kernel.fileno()], [], [], PATIENCE)[0]:
            if found := self.place.run(self.kernel.others):
                return found
        return []

    def quiet(self) -> bool:
        """Whether there is nothing to say now."""
        sentry = self.kernel.sentry
        if isinstance(sentry, Sizes):
            self.place.run(sentry.rounds.look)
        return self.place.run(self.kernel.others) == []

    def missing(self) -> str:
        """What it would take for the kernel to hold all of it."""
        return self.mode.plan(self.place.run(self.kernel.read_back), self.program).render()

    def repair(self) -> None:
        plan = self.mode.plan(self.place.run(self.kernel.read_back), self.program)
        self.place.run(lambda: self.kernel.apply(plan))


@pytest.fixture(params=VARIANTS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with ExitStack() as stack:
        place = stack.enter_context(namespaces.created(f"fwt-iptk-{os.getpid()}"))
        opening = open_iptables_mode(Options(), request.param)
        opened = place.run(opening.__enter__)
        stack.callback(lambda: place.run(lambda: opening.__exit__(None, None, None)))
        assert isinstance(opened.kernel, IptablesKernel)
        assert isinstance(opened.mode, IptablesMode)
        made = Machine(request.param, place, opened.kernel, opened.mode, opened.mode.program(VIEW))
        made.repair()
        yield made


def test_our_own_changes_are_no_news(machine: Machine) -> None:
    assert machine.quiet()
    fewer: dict[FrontendKey, None] = dict.fromkeys(machine.program.fragments)
    plan = machine.mode.plan_changes(machine.program, fewer)
    machine.place.run(lambda: machine.kernel.apply(plan))
    machine.mode.accept(machine.program, fewer)
    assert machine.quiet()
    assert machine.missing() == ""


@pytest.mark.reference("7.2 TestProxierMetricsIPTablesTotalRules")
def test_rules_are_counted_as_the_reference_does(machine: Machine) -> None:
    def saved() -> dict[tuple[str, str], int]:
        text = run([f"iptables-{machine.variant}-save"], namespace=machine.place)
        parts = {part.partition("\n")[0]: part.count("\n-A ") for part in text.split("\n*")[1:]}
        return {("IPv4", table): parts[table] for table in ("filter", "nat")}

    def told(name: str) -> dict[tuple[str, str], float]:
        found = machine.place.run(lambda: list(machine.kernel.figures()))
        ours = [one for one in found if one.name == f"kubeproxy_sync_proxy_rules_iptables_{name}"]
        return {(one.labels["ip_family"], one.labels["table"]): one.value for one in ours}

    assert told("total").items() >= saved().items()
    assert told("last") == told("total")
    fewer: dict[FrontendKey, None] = dict.fromkeys(machine.program.fragments)
    machine.place.run(lambda: machine.kernel.apply(machine.mode.plan_changes(machine.program, fewer)))
    assert told("total").items() >= saved().items()
    assert told("last")["IPv4", "nat"] < told("total")["IPv4", "nat"]


@pytest.mark.parametrize("table", ["nat", "filter"])
def test_a_foreign_flush_is_noticed_and_put_back(machine: Machine, table: str) -> None:
    machine.iptables("-t", table, "-F")
    assert machine.heard() != []
    assert machine.missing() != ""
    machine.repair()
    assert machine.missing() == ""


def test_who_took_one_rule_away_is_named_where_the_kernel_tells(machine: Machine) -> None:
    machine.iptables("-t", "nat", "-D", "KUBE-MARK-MASQ", "1")
    [who] = machine.heard()
    assert ("iptables" in who) is (machine.variant == "nft")
    assert machine.missing().splitlines()[1:] == [
        "*nat",
        "-I KUBE-MARK-MASQ 1 -j MARK --set-xmark 0x4000/0x4000",
        "COMMIT",
    ]


@pytest.mark.reference("7.2 TestCleanupLeftovers")
def test_rules_of_others_are_left_alone_by_changes_repair_and_cleaning(machine: Machine) -> None:
    machine.iptables("-N", "DOCKER-USER")
    machine.iptables("-I", "FORWARD", "1", *FOREIGN.split())
    machine.iptables("-I", "FORWARD", "3", "-j", "DOCKER-USER")
    machine.iptables("-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
    assert machine.missing() == ""
    machine.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    machine.repair()
    removed = machine.place.run(machine.kernel.clean)
    assert removed.endswith(f"chains of iptables ({machine.variant})")
    left = run([f"iptables-{machine.variant}-save"], namespace=machine.place)
    assert [line for line in left.splitlines() if "KUBE" in line] == []
    assert [line for line in left.splitlines() if line.startswith("-A")] == [
        f"-A FORWARD {FOREIGN}",
        "-A FORWARD -j DOCKER-USER",
        "-A POSTROUTING -j MASQUERADE",
    ]
    assert machine.place.run(machine.kernel.clean) == ""


def test_a_rule_of_somebody_in_a_chain_of_ours_is_not_hit_in_place_of_ours(machine: Machine) -> None:
    machine.iptables("-t", "nat", "-I", "KUBE-SERVICES", "1", *["-s", "203.0.113.99/32", "-j", "RETURN"])
    gone = next(key for key in machine.program.fragments if key.address == "10.96.0.47" and key.port == 80)
    plan = machine.mode.plan_changes(machine.program, {gone: None})
    machine.place.run(lambda: machine.kernel.apply(plan))
    left = machine.iptables("-t", "nat", "-S", "KUBE-SERVICES").splitlines()
    assert left[1] == "-A KUBE-SERVICES -s 203.0.113.99/32 -j RETURN"
    assert [line for line in left if gone.address in line] == []


def test_the_lock_of_the_legacy_tables_is_waited_for(machine: Machine) -> None:
    machine.iptables("-t", "nat", "-F")
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work = threading.Thread(target=machine.repair)
        work.start()
        work.join(0.3 if machine.variant == "legacy" else PATIENCE)
        assert work.is_alive() is (machine.variant == "legacy")
    work.join(PATIENCE)
    assert machine.missing() == ""


def test_many_services_are_loaded_flushed_put_back_and_cleaned_up_and_only_the_flush_is_news(machine: Machine) -> None:
    """More chains than one commit of the nft variant has."""
    machine.program = holding(machine.mode, 150)
    machine.repair()
    assert machine.missing() == ""
    assert machine.quiet()
    machine.iptables("-t", "nat", "-F")
    assert machine.heard() != []
    machine.repair()
    assert machine.missing() == ""
    assert machine.quiet()
    assert machine.place.run(machine.kernel.clean).endswith(f"chains of iptables ({machine.variant})")
    assert machine.quiet()
    assert "KUBE-" not in run([f"iptables-{machine.variant}-save"], namespace=machine.place)


def test_what_goes_for_another_mode_is_no_news_however_much_it_is(machine: Machine) -> None:
    """As a switch does it: what refuses first, then the rest; nothing of ours is there for the other mode."""
    machine.program = holding(machine.mode, 150)
    machine.repair()
    assert machine.quiet()
    machine.place.run(lambda: machine.kernel.stand_aside({}))
    assert machine.quiet()
    assert "KUBE-" in run([f"iptables-{machine.variant}-save", "-t", "nat"], namespace=machine.place)
    machine.place.run(lambda: machine.kernel.retire({}))
    assert machine.quiet()
    assert "KUBE-" not in run([f"iptables-{machine.variant}-save"], namespace=machine.place)


@pytest.mark.parametrize("machine", ["nft"], indirect=True)
def test_who_commits_while_much_of_ours_is_written_is_news(machine: Machine) -> None:
    machine.program = holding(machine.mode, 150)
    with machine.place.run(lambda: machine.kernel.sentry.at_work(much=True)):
        machine.iptables("-t", "nat", "-N", "SOMEBODYS")
    assert machine.place.run(machine.kernel.others) == ["somebody, perhaps (at the same time as we)"]
    assert machine.quiet()


@pytest.mark.parametrize("machine", ["nft"], indirect=True)
def test_others_are_heard_again_after_the_kernel_could_not_be_asked(machine: Machine) -> None:
    sentry = machine.kernel.sentry
    assert isinstance(sentry, Generations)
    sentry.nftables.close()
    with pytest.raises(ApplyFailed):
        machine.place.run(machine.kernel.read_back)
    sentry.nftables = machine.place.run(Nftables)
    machine.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    assert "iptables" in machine.heard()[0]


def test_a_restart_finds_what_it_wants(machine: Machine) -> None:
    fresh = machine.mode.program(VIEW)
    assert not machine.mode.plan(machine.place.run(machine.kernel.read_back), fresh)


def test_the_rules_of_a_kube_proxy_are_taken_over(machine: Machine) -> None:
    """From the flat form to the trees and back, by the difference alone."""
    flat = IptablesMode(Options(flat=True))
    theirs = flat.program(VIEW)
    plan = flat.plan(machine.place.run(machine.kernel.read_back), theirs)
    machine.place.run(lambda: machine.kernel.apply(plan))
    assert not flat.plan(machine.place.run(machine.kernel.read_back), theirs)
    assert ":KUBE-SEP-" not in plan.render()
    machine.repair()
    assert machine.missing() == ""


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_in_use_is_the_one_with_rules(variant: Variant) -> None:
    with namespaces.created(f"fwt-iptv-{os.getpid()}") as place:
        run([f"iptables-{variant}", "-t", "nat", "-N", "KUBE-SERVICES"], namespace=place)
        assert place.run(open_tools).variant == variant


def test_a_variant_that_is_not_there_is_said() -> None:
    with pytest.raises(Unsuitable, match="no iptables-modern-restore"), open_iptables_mode(Options(), "modern"):
        raise AssertionError("it was opened")
