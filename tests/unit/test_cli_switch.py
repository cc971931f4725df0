"""Unit tests of `fairway.cli.switch`: what it prints, and what it refuses before it asks anybody."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.cli.output import EXIT_USAGE, CommandError
from fairway.cli.switch import lines, switch


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"to": "ebpf"}, "there is no mode 'ebpf'; there are"),
        ({"to": "nftables", "iptables_variant": "nft"}, "goes with --to iptables"),
        ({"to": "iptables", "iptables_variant": "old"}, "nft or legacy"),
        ({"to": "ipvs", "drain_limit": "soon"}, "--drain-limit 'soon' is not a duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(CommandError, match=problem) as raised:
        switch(**arguments)
    assert raised.value.code == EXIT_USAGE


def told(phase: str, **more: Any) -> dict[str, Any]:
    return {"from": "ipvs", "to": "nftables", "phase": phase, "planned": False, "commands": 7, "removes": 3, **more}


def equivalence(differences: int, lacking: int = 0) -> dict[str, Any]:
    one = {"service": "shop/web", "frontend": "10.96.0.7:80/TCP", "client": "a pod", "was": "refused"}
    return {
        "same": not differences and not lacking,
        "packets": 12,
        "frontends": 4,
        "differing": differences,
        "differences": [{**one, "becomes": "dropped"} for _ in range(differences)],
        "lacking": [f"Service shop/{number}: no scheduler" for number in range(lacking)],
        "gained": [],
    }


def test_a_comparison_is_one_line_when_nothing_differs() -> None:
    found = list(lines({}, told("compare", equivalence=equivalence(0))))
    assert found == ["ipvs to nftables", "compare:  the same for all 12 kinds of clients of 4 frontends"]


def test_what_is_alike_is_told_once_with_a_few_names() -> None:
    found = list(lines({}, told("compare", equivalence=equivalence(5, 1))))
    assert found[1:] == [
        "compare:  different for 5 of 12 kinds of clients of 4 frontends; 1 thing is not done any more",
        "  from a pod: refused; then dropped",
        "    Services " + ", ".join(["shop/web (10.96.0.7:80/TCP)"] * 3) + " and 2 more",
        "  not done any more: Service shop/0: no scheduler",
    ]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((1, 0), "different for 1 of 12 kinds of clients of 4 frontends"),
        ((0, 1), "1 thing is not done any more"),
        ((0, 2), "2 things are not done any more"),
    ],
)
def test_what_there_is_none_of_is_not_named(found: tuple[int, int], said: str) -> None:
    assert list(lines({}, told("compare", equivalence=equivalence(*found))))[1] == f"compare:  {said}"


def test_phases_are_told_once_but_a_drain_each_time_it_moves() -> None:
    load = told("load")
    assert list(lines({}, load)) == ["load:     nftables beside ipvs"]
    assert list(lines(load, load)) == []
    drain = told("drain", connections=2)
    assert list(lines({}, drain)) == ["drain:    2 connections still need ipvs"]
    assert list(lines(drain, told("drain", connections=1))) == ["drain:    1 connection still needs ipvs"]
    assert list(lines({}, told("done"))) == ["done:     nftables, by 7 commands"]
    assert list(lines({}, told("done", planned=True))) == ["would:    load nftables by 7 commands, remove ipvs by 3"]
