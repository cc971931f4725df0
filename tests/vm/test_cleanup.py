"""What the ipvs mode has left goes, in a guest: virtual servers, ipsets, the device, the rules; others' stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fairway.conform.scenario import scenarios
from fairway.diagnose.leftovers import Plan, look, remove
from fairway.kernel import namespaces
from fairway.kernel.ipset import Ipset
from fairway.kernel.ipvs import Ipvs
from fairway.kernel.leftovers import known_sets
from fairway.kernel.links import Links
from fairway.kernel.namespaces import NetworkNamespace
from fairway.modes.ipvs.parts import DEVICE, IpSet, Scheduling, Server, Virtual
from fairway.proxy.kernels import open_mode

pytestmark = pytest.mark.vm

VIEW = next(one for one in scenarios() if one.name == "dual-stack").steps[0].view
FOREIGN = Virtual("TCP", "192.0.2.99", 443)
FOREIGN_SET = IpSet("mine", "hash:ip", "ip")


@pytest.fixture
def machine() -> Iterator[NetworkNamespace]:
    with namespaces.created("fwt-cleanup") as namespace:
        with Links(namespace) as links:
            links.set_up("lo")
        yield namespace


def test_nothing_of_the_ipvs_mode_is_left_and_others_servers_and_sets_are(machine: NetworkNamespace) -> None:
    def load() -> None:
        with open_mode("ipvs") as opened:
            opened.kernel.apply(opened.mode.plan(opened.kernel.read_back(), opened.mode.program(VIEW)))
        with Ipvs() as ipvs, Ipset() as ipset:
            ipvs.each([ipvs.add_service(FOREIGN, Scheduling("rr"))])
            ipset.create(FOREIGN_SET)

    def clean() -> tuple[Plan, list[str]]:
        plan = look()
        return plan, [error for _, error in remove(plan, force=False) if error]

    def left() -> tuple[set[Server], set[IpSet], bool]:
        with Ipvs() as ipvs, Ipset() as ipset, Links() as links:
            return set(ipvs.services()), set(ipset.sets([FOREIGN_SET, *known_sets()])), DEVICE in links.names()

    machine.run(load)
    assert len(machine.run(left)[0]) > 1
    plan, errors = machine.run(clean)
    assert errors == []
    assert [one.kind for one in plan.leftovers if one.kind != "iptables"] == ["virtual servers", "ipset", "addresses"]
    assert [name for place, name, _ in plan.kept if place == "ipvs"] == [FOREIGN.words]
    assert machine.run(left) == ({FOREIGN}, {FOREIGN_SET}, False)
    assert machine.run(lambda: look().leftovers) == ()
