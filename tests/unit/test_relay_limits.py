"""Unit tests of `fairway.relay.limits`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.view import Relaying
from fairway.relay.limits import MOST_CLIENTS, Limits


def test_as_many_at_one_time_as_allowed() -> None:
    limits, wanted = Limits(), Relaying(most=2)
    assert [limits.admit("a", wanted, 0.0) for _ in range(3)] == ["", "", "max-connections"]
    limits.leave("a")
    assert limits.admit("b", wanted, 0.0) == ""
    assert limits.active == 2


def test_each_client_for_itself() -> None:
    limits, wanted = Limits(), Relaying(most_per_client=1)
    assert limits.admit("a", wanted, 0.0) == ""
    assert limits.admit("a", wanted, 0.0) == "max-connections-per-client"
    assert limits.admit("b", wanted, 0.0) == ""


def test_who_asks_too_often_leaves_the_others_their_share() -> None:
    limits, wanted = Limits(), Relaying(rate=10, rate_per_client=2)
    answers = [limits.admit("greedy", wanted, 0.0) for _ in range(50)]
    assert answers == ["", "", *["connection-rate-per-client"] * 48]
    assert [limits.admit(f"client-{number}", wanted, 0.0) for number in range(9)] == [*[""] * 8, "connection-rate"]


def test_a_slow_rate_lets_one_through_at_a_time() -> None:
    limits, wanted = Limits(), Relaying(rate_per_client=0.1)
    assert limits.admit("a", wanted, 0.0) == ""
    assert limits.admit("a", wanted, 9.0) == "connection-rate-per-client"
    assert limits.admit("a", wanted, 10.0) == ""


@given(st.integers(1, 50), st.lists(st.floats(0, 0.5), max_size=200))
def test_over_any_time_nobody_gets_more_than_the_rate_and_one_burst(rate: int, pauses: list[float]) -> None:
    limits, wanted, now, admitted = Limits(), Relaying(rate=rate), 0.0, 0
    for pause in pauses:
        now += pause
        admitted += not limits.admit("a", wanted, now)
    assert admitted <= rate + now * rate + 1e-6


def test_memory_of_clients_is_bounded() -> None:
    limits, wanted = Limits(), Relaying(rate_per_client=1)
    for number in range(MOST_CLIENTS + 5):
        limits.admit(str(number), wanted, 0.0)
        limits.leave(str(number))
    assert limits.active == 0
    assert limits.admit(str(MOST_CLIENTS), wanted, 0.0) == "connection-rate-per-client"
