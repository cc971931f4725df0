"""What several frontends need is there as long as one of them is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.modes.shares import Shares

NEEDS = st.lists(st.frozensets(st.sampled_from("abcde")), min_size=3, max_size=3)


def test_a_part_comes_with_its_first_owner_and_goes_with_its_last() -> None:
    shares: Shares[str] = Shares()
    first = shares.turnover((), ("chain", "sep"))
    assert first.coming == ("chain", "sep")
    shares.accept(first)
    second = shares.turnover((), ("chain",))
    assert second.coming == ()
    shares.accept(second)
    assert shares.turnover(("chain", "sep"), ()).leaving == ("sep",)
    shares.accept(shares.turnover(("chain", "sep"), ()))
    assert shares.turnover(("chain",), ()).leaving == ("chain",)


def test_what_an_owner_keeps_is_no_change() -> None:
    shares: Shares[str] = Shares({"chain": 1})
    turnover = shares.turnover(("chain",), ("chain",))
    assert (turnover.owners, turnover.coming, turnover.leaving) == ({}, (), ())


def test_a_part_that_goes_from_one_owner_to_another_stays() -> None:
    shares: Shares[str] = Shares({"address": 1})
    turnover = shares.turnover(("address",), ("address", "address"))
    assert (turnover.coming, turnover.leaving) == ((), ())
    shares.accept(turnover)
    assert shares.owners == {"address": 2}


@given(st.lists(NEEDS, max_size=6))
def test_there_is_what_somebody_needs(history: list[list[frozenset[str]]]) -> None:
    shares: Shares[str] = Shares()
    held: set[str] = set()
    before: list[frozenset[str]] = [frozenset()] * 3
    for after in history:
        turnover = shares.turnover((p for one in before for p in one), (p for one in after for p in one))
        assert held.isdisjoint(turnover.coming)
        assert held.issuperset(turnover.leaving)
        shares.accept(turnover)
        held = (held | set(turnover.coming)) - set(turnover.leaving)
        assert held == set().union(*after) == shares.owners.keys()
        before = after
