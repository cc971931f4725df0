"""Whose the tables are: nobody else changes them while their owner's socket is open, then they stay for the next."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.contract import ApplyFailed, Opened, Ownership
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nftables import Nftables, Owned, Standing
from fairway.kernel.nftables_mode import open_nftables
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables import commands as c

pytestmark = pytest.mark.kernel

OWNED, PLAIN = NftablesMode(persistent=True), NftablesMode()
SETTINGS = NodeSettings(name="node-1", service_networks=("10.96.0.0/16",))
REMEMBERED = "element ip fairway affinity { 10.96.0.1 . tcp . 80 . 10.244.0.9 timeout 10m expires 9m : 0x1 }"


def view(backends: int = 2) -> NodeView:
    forward = Action(kind=ActionKind.FORWARD)
    one = Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address="10.96.0.1",
        protocol="TCP",
        port=80,
        service=Key("shop", "web"),
        port_name="http",
        cluster=tuple(Backend(address=f"10.244.0.{n}", port=8080) for n in range(backends)),
        affinity_seconds=600,
        pod=forward,
        node=forward,
        outside=forward,
    )
    return NodeView(settings=SETTINGS, frontends={one.key: one})


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-owner-{os.getpid()}") as made:
        yield made


@pytest.fixture
def kernel(namespace: NetworkNamespace) -> Iterator[Nftables]:
    """One that holds the tables of a view, and owns them."""
    with namespace.run(Nftables) as opened:
        opened.apply(OWNED.plan(OWNED.empty(), OWNED.program(view())))
        yield opened


@pytest.fixture
def other(namespace: NetworkNamespace) -> Iterator[Nftables]:
    with namespace.run(Nftables) as opened:
        yield opened


def listed(namespace: NetworkNamespace) -> str:
    return run(["nft", "list", "ruleset"], namespace=namespace)


def test_a_foreign_flush_passes_over_what_is_owned(namespace: NetworkNamespace, kernel: Nftables) -> None:
    before = listed(namespace)
    run(["nft", "-f", "-"], namespace=namespace, input="flush ruleset\ntable ip theirs {\n}\n")
    assert listed(namespace).replace("table ip theirs {\n}\n", "") == before
    assert not OWNED.plan(Program(kernel.read(), SETTINGS), OWNED.program(view()))


@pytest.mark.parametrize("words", ["delete table ip fairway", "flush table ip fairway", "flush map ip fairway slots"])
def test_the_kernel_refuses_what_others_want_to_change(
    namespace: NetworkNamespace, kernel: Nftables, words: str
) -> None:
    before = kernel.read()
    with pytest.raises(CommandFailed, match="Operation not permitted"):
        run(["nft", *words.split()], namespace=namespace)
    assert kernel.read() == before


def test_who_is_refused_learns_whose_it_is(namespace: NetworkNamespace, kernel: Nftables, other: Nftables) -> None:
    plan = PLAIN.plan(Program(other.read(), SETTINGS), PLAIN.empty())
    name = Path("/proc/self/comm").read_text().strip()
    for work in (lambda: other.apply(plan), other.take):
        with pytest.raises(Owned) as caught:
            namespace.run(work)
        assert caught.value.code == errno.EPERM
        assert str(caught.value) == (
            f"table ip fairway belongs to {name} (pid {os.getpid()}): "
            "nobody else can change it until that process ends or lets go of it"
        )


def test_tables_outlive_their_owner_and_the_next_one_takes_them(
    namespace: NetworkNamespace, kernel: Nftables, other: Nftables
) -> None:
    before = kernel.read()
    assert other.standings() == dict.fromkeys(("ip", "ip6"), Standing(persistent=True, owner=kernel.port))
    kernel.close()
    assert other.standings() == dict.fromkeys(("ip", "ip6"), Standing(persistent=True, owner=0))
    other.take()
    assert other.standings() == dict.fromkeys(("ip", "ip6"), Standing(persistent=True, owner=other.port))
    assert other.read() == before
    run(["nft", "flush", "ruleset"], namespace=namespace)
    other.take()  # what is its own already is no trouble
    assert other.read() == before


def test_whoever_does_not_want_to_own_orphans_changes_them_as_they_are(kernel: Nftables, other: Nftables) -> None:
    kernel.close()
    plan = PLAIN.plan(Program(other.read(), SETTINGS), PLAIN.program(view(3)))
    assert not any(isinstance(one, c.DeleteTable) for one in plan.commands)
    other.apply(plan)
    assert other.standings() == dict.fromkeys(("ip", "ip6"), Standing(persistent=True, owner=0))


def test_tables_of_an_earlier_version_are_replaced_at_once_and_remember_their_clients(
    namespace: NetworkNamespace, other: Nftables
) -> None:
    other.apply(PLAIN.plan(PLAIN.empty(), PLAIN.program(view())))
    run(["nft", "add", *REMEMBERED.split()], namespace=namespace)
    plan = OWNED.plan(Program(other.read(), SETTINGS), OWNED.program(view()))
    assert plan.commands[0] == c.DeleteTable("ip", "fairway")
    before = other.generation().number
    other.apply(plan)
    assert other.generation().number == before + 1
    assert other.standings()["ip"].owner == other.port
    assert not OWNED.plan(Program(other.read(), SETTINGS), OWNED.program(view()))
    memory = run(["nft", "list", "map", "ip", "fairway", "affinity"], namespace=namespace)
    assert re.search(r"10\.96\.0\.1 \. tcp \. 80 \. 10\.244\.0\.9 timeout 10m expires 8m\d+s", memory)


def test_a_kernel_that_does_not_know_a_flag_is_asked_without_harm(namespace: NetworkNamespace, other: Nftables) -> None:
    assert other.can_own()
    assert not other.accepts_flags(0x80)
    assert listed(namespace) == ""


def test_the_mode_owns_what_it_makes_and_tells(namespace: NetworkNamespace) -> None:
    def answer(opened: Opened) -> Ownership:
        assert opened.ownership
        return opened.ownership()

    def work() -> None:
        with open_nftables() as opened:
            assert answer(opened) == (False, "there are none yet")
            opened.kernel.apply(opened.mode.plan(opened.kernel.read_back(), opened.mode.program(view())))
            assert answer(opened) == (True, "")
            with open_nftables() as second, pytest.raises(ApplyFailed, match="table ip fairway belongs to"):
                second.kernel.read_back()
        with open_nftables(own=False) as opened:
            assert answer(opened) == (False, "this proxy was told not to own them")
        with open_nftables() as opened:
            assert answer(opened) == (False, "table ip belongs to nobody, table ip6 belongs to nobody")
            opened.kernel.read_back()
            assert answer(opened) == (True, "")
            assert [one.value for one in opened.figures()] == [1.0]
            assert opened.kernel.clean() == "2 nftables tables"

    namespace.run(work)
