"""Unit tests of `fairway.bench.repeated`."""

from __future__ import annotations

from fairway.bench.process import Program
from fairway.bench.repeated import Report, in_turns, middle


def test_each_number_is_the_median_wherever_it_stands() -> None:
    runs = [{"mode": "nftables", "cold": cold, "change": {"p50": p50}} for cold, p50 in ((1.0, 5), (9.0, 1), (2.0, 3))]
    assert middle(runs) == {"mode": "nftables", "cold": 2.0, "change": {"p50": 3}}


def test_of_an_even_number_of_runs_it_is_one_that_was_seen() -> None:
    assert middle([{"p50": 1}, {"p50": 4}, {"p50": 2}, {"p50": 3}]) == {"p50": 2}


def test_what_is_no_number_stays_as_it_is() -> None:
    assert middle([{"machine": {"model": "a", "quick": True}}] * 2) == {"machine": {"model": "a", "quick": True}}


def test_programs_take_turns_and_every_run_is_told() -> None:
    order: list[str] = []

    def measure(program: Program) -> Report:
        order.append(program.mode)
        return {"mode": program.mode, "p50": len(order), "cold": 1}

    first, second = in_turns([Program("nftables"), Program("iptables")], 3, measure, ["p50"])
    assert order == ["nftables", "iptables"] * 3
    assert first == {"mode": "nftables", "p50": 3, "cold": 1, "repeat": 3, "each": [{"p50": 1}, {"p50": 3}, {"p50": 5}]}
    assert (second["mode"], second["p50"]) == ("iptables", 4)


def test_one_run_is_told_as_it_was() -> None:
    assert in_turns([Program("nftables")], 1, lambda _: {"p50": 7}, ["p50"]) == [{"p50": 7, "repeat": 1}]
