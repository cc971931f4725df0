"""Advice: facts about a cluster and a machine become ranked modes, settings and what Kubernetes plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairway.diagnose.advice import (
    Candidate,
    Cost,
    Facts,
    Option,
    Setting,
    Tracking,
    Use,
    advise,
    rules_in_a_row,
    rules_in_tree,
)

ABLE = Candidate(cannot="")
ALL = dict.fromkeys(("iptables", "userspace", "ipvs", "nftables"), ABLE)
SMALL = Facts(services=20, frontends=60, backends=60, most_backends=3, candidates=ALL, kernel="6.18.0")
NO_NFTABLES = {**ALL, "nftables": Candidate(cannot="this machine cannot do the nftables mode:\nno nf_tables")}
LC = {"lc": 15}
OTHERWISE = Candidate(cannot="", differently=("Service shop/a: no schedulers",), services=15)


def option(facts: Facts, mode: str) -> Option:
    return next(one for one in advise(facts).options if one.mode == mode)


def setting(facts: Facts, name: str) -> Setting | None:
    return next((one for one in advise(facts).settings if one.name.startswith(name)), None)


@pytest.mark.parametrize(
    "facts, order",
    [
        pytest.param(SMALL, "nftables iptables ipvs userspace", id="nothing decides"),
        pytest.param(
            replace(SMALL, candidates=NO_NFTABLES), "iptables ipvs userspace nftables", id="a kernel without nf_tables"
        ),
        pytest.param(
            replace(SMALL, candidates=NO_NFTABLES, services=5000),
            "ipvs iptables userspace nftables",
            id="without nf_tables, with many Services",
        ),
        pytest.param(
            replace(SMALL, candidates=NO_NFTABLES, most_backends=400),
            "ipvs iptables userspace nftables",
            id="without nf_tables, with a Service of many backends",
        ),
        pytest.param(
            replace(SMALL, candidates=NO_NFTABLES, changes_per_second=80.0),
            "ipvs iptables userspace nftables",
            id="without nf_tables, and busy",
        ),
        pytest.param(
            replace(SMALL, schedulers=LC, candidates={**ALL, "nftables": OTHERWISE, "iptables": OTHERWISE}),
            "ipvs nftables iptables userspace",
            id="Services ask for IPVS schedulers",
        ),
        pytest.param(
            replace(SMALL, candidates={"ebpf": ABLE, "iptables": OTHERWISE, "userspace": ABLE}),
            "ebpf iptables userspace",
            id="a mode that nobody has words for",
        ),
    ],
)
def test_modes_are_ranked_by_what_decides(facts: Facts, order: str) -> None:
    given = advise(facts)
    assert " ".join(one.mode for one in given.options) == order
    assert given.recommended == order.split()[0]


def test_relaying_everything_comes_last_even_if_it_serves_most_as_they_ask() -> None:
    given = advise(replace(SMALL, candidates={"userspace": ABLE, "nftables": OTHERWISE}))
    assert given.recommended == "nftables"


def test_a_mode_that_cannot_be_says_why_in_one_line() -> None:
    found = option(replace(SMALL, candidates=NO_NFTABLES), "nftables")
    assert found.possible is False
    assert found.against[0] == "this machine cannot do the nftables mode: no nf_tables"


def test_a_machine_that_can_do_nothing_gets_no_recommendation_and_no_settings() -> None:
    given = advise(replace(SMALL, candidates={name: Candidate(cannot="no") for name in ALL}))
    assert (given.recommended, given.settings) == ("", ())
    assert len(given.options) == len(ALL)


def test_a_machine_that_was_not_asked_is_said_to_be() -> None:
    given = advise(replace(SMALL, candidates={name: Candidate() for name in ALL}))
    assert given.recommended == "nftables"
    assert all(one.possible is None for one in given.options)
    assert "what this machine can do was not asked: that takes root" in given.rests_on


def test_what_services_do_not_get_is_listed_but_not_without_end() -> None:
    many = Candidate(cannot="", differently=tuple(f"Service shop/{n}: no" for n in range(9)), services=9)
    assert option(replace(SMALL, candidates={"nftables": many}), "nftables").against == (
        "of 20 Services, 9 would get otherwise what they ask for, or not at all:",
        "Service shop/0: no",
        "Service shop/1: no",
        "Service shop/2: no",
        "and 6 more of the kind",
    )


@pytest.mark.parametrize(
    "frontends, tree, flat", [(1, 1, 1), (16, 8, 8), (64, 11, 32), (10_000, 18, 5000), (100_000, 21, 50_000)]
)
def test_rules_on_the_way_are_counted(frontends: int, tree: int, flat: int) -> None:
    assert (rules_in_tree(frontends), rules_in_a_row(frontends)) == (tree, flat)


@pytest.mark.parametrize(
    "tracking, value, words",
    [
        (Tracking(count=10, most=262144, raised=131072), "", "10 connections are tracked, of 262,144 at most"),
        (Tracking(count=10, most=65536, raised=131072), "", "which the proxy raises to 131,072"),
        (Tracking(count=65536, most=65536, raised=131072), "", "raises to 131,072"),
        (Tracking(count=131072, most=262144, raised=131072), "", "at most"),
        (Tracking(count=131073, most=262144, raised=131072), "524288", "more than half of the 262,144"),
        (Tracking(count=200_000, most=262144, raised=131072), "524288", "more than half of the 262,144"),
    ],
)
def test_connection_tracking_has_room_for_twice_what_there_is(tracking: Tracking, value: str, words: str) -> None:
    found = setting(replace(SMALL, tracking=tracking), "--conntrack-min")
    assert found is not None
    assert found.value == value
    assert words in found.because


def test_the_flat_form_is_spoken_of_in_the_iptables_mode_only() -> None:
    assert setting(SMALL, "--iptables-flat") is None
    large = setting(replace(SMALL, candidates={"iptables": ABLE}, frontends=3000), "--iptables-flat")
    assert large is not None
    assert (large.value, "about 1,500 rules" in large.because) == ("", True)
    small = setting(replace(SMALL, candidates={"iptables": ABLE}, frontends=8), "--iptables-flat")
    assert small is not None
    assert "as quick" in small.because


@pytest.mark.parametrize(
    "more, wanted",
    [
        ({}, False),
        ({"uses": {Use.NODE_PORTS: 2}}, False),
        ({"uses": {Use.NODE_PORTS: 2}, "mode": "iptables"}, True),
        ({"uses": {Use.NODE_PORTS: 2}, "localhost_node_ports": True}, True),
        ({"mode": "iptables"}, False),
    ],
)
def test_node_ports_at_localhost_are_kept_for_who_has_them(more: dict[str, Any], wanted: bool) -> None:
    found = setting(replace(SMALL, **more), "--localhost-nodeports")
    assert (found is not None) is wanted


@pytest.mark.parametrize(
    "count, bits, value", [(100, None, ""), (4096, None, ""), (4097, None, "13"), (10**6, 12, "20"), (10**6, 20, "")]
)
def test_the_table_of_ipvs_has_a_place_for_each_connection(count: int, bits: int | None, value: str) -> None:
    tracking = Tracking(count=count, most=1 << 22, raised=0)
    facts = replace(SMALL, candidates={"ipvs": ABLE}, tracking=tracking, ipvs_table_bits=bits)
    found = setting(facts, "ip_vs conn_tab_bits")
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize("asking, wanted", [(15, "lc"), (10, None)])
def test_a_scheduler_that_most_services_ask_for_becomes_the_nodes(asking: int, wanted: str | None) -> None:
    facts = replace(SMALL, candidates={"ipvs": ABLE}, schedulers={"lc": asking, "wrr": 1})
    found = setting(facts, "--ipvs-scheduler")
    assert (found.value if found else None) == wanted


@pytest.mark.parametrize(
    "facts, words",
    [
        (SMALL, ["nftables in 1.40 (KEP-5343)"]),
        (replace(SMALL, mode="ipvs"), ["nftables in 1.40", "ipvs mode: deprecated in 1.35"]),
        (replace(SMALL, uses={Use.EXTERNAL_IPS: 1}), ["nftables in 1.40", "spec.externalIPs (1 Service): deprecated"]),
    ],
)
def test_what_kubernetes_plans_is_told_to_whom_it_concerns(facts: Facts, words: list[str]) -> None:
    given = advise(facts)
    assert len(given.upstream) == len(words)
    assert all(wanted in said for wanted, said in zip(words, given.upstream, strict=True))


def test_what_was_measured_is_a_reason_and_replaces_published_figures() -> None:
    cost = Cost(connect=8.8e-6, directly=8.1e-6, change=0.00057)
    facts = replace(SMALL, candidates={**ALL, "nftables": replace(ABLE, cost=cost)})
    assert option(facts, "nftables").reasons[-2:] == (
        "measured here: a connection through a Service takes 8.8 µs (directly 8.1 µs)",
        "measured here: a change is in the kernel after 0.57 ms",
    )
    assert "published" not in advise(facts).rests_on[0]
    assert "published" in advise(SMALL).rests_on[0]
