"""The machine in memory accepts, refuses and holds what the kernel does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from fairway.kernel import namespaces
from fairway.kernel.fake import FakeNftables
from fairway.kernel.nfnetlink import KernelRefused
from fairway.kernel.nftables import Machine, Nftables
from fairway.model.packet import ICMP
from fairway.model.view import Action, ActionKind, Backend, Client, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.model.view import Pool as P
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.expressions import GOTO, Jump, Verdict
from fairway.modes.nftables.ruleset import number_bytes
from fairway.modes.nftables.tables import Chain, Element, Rule

MODE = NftablesMode()
SETTINGS = NodeSettings(
    name="node-1",
    addresses=("127.0.0.1", "192.168.0.2", "fd00::2"),
    pod_networks=("10.244.0.0/16", "10.245.0.0/16", "fd00:244::/48"),
    service_networks=("10.96.0.0/16", "fd00:96::/112", "255.255.255.0/24"),
)


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.kernel)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "fake":
        yield FakeNftables()
        return
    with namespaces.created(f"fwt-nft-{os.getpid()}") as namespace, namespace.run(Nftables) as kernel:
        yield kernel


def frontend(address: str, count: int, port: int = 80, **changes: object) -> Frontend:
    forward = Action(kind=ActionKind.FORWARD)
    v6 = ":" in address
    backends = tuple(
        Backend(address=f"fd00:244::{n + 2:x}" if v6 else f"10.244.1.{n + 2}", port=8080, local=n == 0, slice="web-1")
        for n in range(count)
    )
    fields: dict[str, object] = {
        "kind": FrontendKind.CLUSTER_IP,
        "address": address,
        "protocol": "TCP",
        "port": port,
        "service": Key("shop", "web"),
        "port_name": "http",
        "cluster": backends,
        "local": backends[:1],
        "pod": forward,
        "node": Action(kind=ActionKind.FORWARD, masquerade=True),
        "outside": Action(kind=ActionKind.FORWARD, pool=P.LOCAL),
    }
    return Frontend(**(fields | changes))  # type: ignore[arg-type]


def program(*frontends: Frontend) -> Program:
    return MODE.program(NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends}))


def code_of(machine: Machine, *commands: c.Command) -> int:
    """The errno with which the machine refuses; 0 when it accepts."""
    try:
        machine.apply(c.Plan(commands))
    except KernelRefused as refused:
        return refused.code
    return 0


EVERYTHING = program(
    frontend("10.96.0.1", 3),
    frontend("10.96.0.1", 0, port=81, pod=Action(kind=ActionKind.REJECT), node=Action(kind=ActionKind.DROP)),
    frontend("198.51.100.1", 2, source_ranges=("192.0.2.0/25", "203.0.113.7/32")),
    frontend("0.0.0.0", 2, port=30080, kind=FrontendKind.NODE_PORT),
    frontend("10.96.0.1", 0, port=0, protocol="", kind=FrontendKind.OTHER_PORTS),
    frontend("203.0.113.1", 0, port=0, protocol=ICMP, kind=FrontendKind.PING),
    frontend("10.96.0.2", 3, affinity_seconds=10800),
    frontend("0.0.0.0", 2, port=30081, kind=FrontendKind.NODE_PORT, affinity_seconds=90),
    frontend("fd00:96::1", 4, source_ranges=("fd00:1::/64",)),
)


def test_a_whole_program_is_held_as_it_was_written(machine: Machine) -> None:
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING))
    assert machine.read() == EVERYTHING.tables()
    assert not MODE.plan(Program(machine.read(), SETTINGS), EVERYTHING)


def test_what_is_deleted_is_gone(machine: Machine) -> None:
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING))
    machine.apply(MODE.plan(EVERYTHING, MODE.empty()))
    assert machine.read() == {}


def test_changes_follow_each_other(machine: Machine) -> None:
    held = program(frontend("10.96.0.1", 3))
    machine.apply(MODE.plan(MODE.empty(), held))
    for count in (2, 5, 0, 1):
        one = frontend("10.96.0.1", count)
        changes = {one.key: MODE.compile(one, SETTINGS)}
        machine.apply(MODE.plan_changes(held, changes))
        MODE.accept(held, changes)
        assert machine.read() == held.tables()
    gone = {frontend("10.96.0.1", 0).key: None}
    machine.apply(MODE.plan_changes(held, gone))
    MODE.accept(held, gone)
    assert machine.read() == held.tables()


def test_a_damaged_table_is_repaired(machine: Machine) -> None:
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING))
    tables = EVERYTHING.tables()["ip"]
    lost = tuple(tables.elements["slots"].values())[:2]
    machine.apply(
        c.Plan(
            (
                c.DeleteElements("ip", "fairway", tables.sets["slots"], lost),
                c.FlushChain("ip", "fairway", "services"),
                c.AddChain("ip", "fairway", Chain("intruder")),
            )
        )
    )
    repair = MODE.plan(Program(machine.read(), SETTINGS), EVERYTHING)
    assert "delete chain ip fairway intruder" in repair.render()
    machine.apply(repair)
    assert machine.read() == EVERYTHING.tables()


def test_a_table_of_another_shape_is_replaced(machine: Machine) -> None:
    other = EVERYTHING.tables()["ip"].sets["cluster-ips"]._replace(comment="another version's")
    machine.apply(c.Plan((c.AddTable("ip", "fairway"), c.AddSet("ip", "fairway", other))))
    machine.apply(MODE.plan(Program(machine.read(), SETTINGS), EVERYTHING))
    assert machine.read() == EVERYTHING.tables()


def test_a_table_can_be_owned_from_its_beginning_or_never(machine: Machine) -> None:
    assert code_of(machine, c.AddTable("ip", "fairway")) == 0
    assert code_of(machine, c.AddTable("ip", "fairway", persistent=True)) == errno.EOPNOTSUPP
    owned = NftablesMode(persistent=True).program(NodeView(settings=SETTINGS, frontends={}))
    machine.apply(MODE.plan(Program(machine.read(), SETTINGS), owned))
    assert machine.read() == owned.tables()


def test_nothing_of_a_refused_plan_happens(machine: Machine) -> None:
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING))
    tables = EVERYTHING.tables()["ip"]
    known = next(iter(tables.elements["frontends"].values()))
    wrong = Element("frontends", known.key[:-4] + b"\xff\xff\0\0", known.data)
    code = code_of(
        machine,
        c.DeleteElements("ip", "fairway", tables.sets["frontends"], (known,)),
        c.DeleteElements("ip", "fairway", tables.sets["frontends"], (wrong,)),
    )
    assert code == errno.ENOENT
    assert machine.read() == EVERYTHING.tables()


def test_refusals_are_the_same(machine: Machine) -> None:
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING))
    tables = EVERYTHING.tables()["ip"]
    frontends, actions = tables.sets["frontends"], tables.sets["actions"]
    known = next(iter(tables.elements["frontends"].values()))
    other = Element("frontends", known.key, number_bytes(77))
    nowhere = Element("actions", number_bytes(78), Jump(GOTO, "nowhere"))
    loop = Rule((Verdict(Jump(GOTO, "dispatch")),))
    to_nowhere = Rule((Verdict(Jump(GOTO, "nowhere")),))
    unknown = frontends._replace(name="unknown")
    assert code_of(machine, c.AddElements("ip", "fairway", frontends, (known,))) == 0
    assert code_of(machine, c.AddElements("ip", "fairway", frontends, (other,))) == errno.EEXIST
    assert code_of(machine, c.AddElements("ip", "fairway", actions, (nowhere,))) == errno.ENOENT
    assert code_of(machine, c.AddElements("ip", "fairway", unknown, (known,))) == errno.ENOENT
    assert code_of(machine, c.AddElements("ip", "nobody", frontends, (known,))) == errno.ENOENT
    assert code_of(machine, c.DeleteElements("ip", "fairway", unknown, (known,))) == errno.ENOENT
    assert code_of(machine, c.AddChain("ip", "fairway", Chain("services"))) == errno.EEXIST
    assert code_of(machine, c.AddSet("ip", "fairway", frontends)) == errno.EEXIST
    assert code_of(machine, c.DeleteSet("ip", "fairway", frontends)) == errno.EBUSY
    assert code_of(machine, c.DeleteSet("ip", "fairway", unknown)) == errno.ENOENT
    assert code_of(machine, c.DeleteChain("ip", "fairway", "balance-3")) == errno.EBUSY
    assert code_of(machine, c.DeleteChain("ip", "fairway", "nowhere")) == errno.ENOENT
    assert code_of(machine, c.FlushChain("ip", "fairway", "nowhere")) == errno.ENOENT
    assert code_of(machine, c.AddRule("ip", "fairway", "nowhere", loop, "")) == errno.ENOENT
    assert code_of(machine, c.AddRule("ip", "fairway", "services", to_nowhere, "")) == errno.ENOENT
    assert code_of(machine, c.AddRule("ip", "fairway", "by-client", loop, "")) == errno.EMLINK
    assert code_of(machine, c.DeleteTable("ip6", "nobody")) == errno.ENOENT
    assert machine.read() == EVERYTHING.tables()


def test_a_plan_for_a_generation_that_has_passed_is_refused(machine: Machine) -> None:
    before = machine.generation().number
    machine.apply(MODE.plan(MODE.empty(), EVERYTHING), generation=before)
    assert machine.generation().number == before + 1
    with pytest.raises(KernelRefused) as caught:
        machine.apply(MODE.plan(EVERYTHING, MODE.empty()), generation=before)
    assert caught.value.code == errno.ERESTART
    assert machine.read() == EVERYTHING.tables()


def test_an_empty_plan_changes_nothing(machine: Machine) -> None:
    before = machine.generation().number
    machine.apply(c.Plan())
    assert machine.generation().number == before


def test_every_kind_of_client_is_in_the_program_that_is_tested() -> None:
    elements = EVERYTHING.tables()["ip"].elements
    assert all(elements[f"frontends-{client}"] for client in Client)
    assert all(
        elements[name]
        for name in elements
        if name not in ("masquerade-pod", "masquerade-outside", "node-address-frontends", "affinity")
    )
