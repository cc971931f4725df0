"""Unit tests of `fairway.apiserver.access.limits`: places for everybody, and always one for the administrator."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from fairway.apiserver.access.limits import Limits, RequestLimits
from fairway.apiserver.access.users import NOBODY, User
from fairway.objects.status import ApiError
from fairway.runtime.clock import FakeClock

ANN, BOB, ADMIN = User("ann"), User("bob"), User("root", ("system:masters",))


def refused(limits: Limits, user: User, address: str = "192.0.2.1", *, watch: bool = False) -> int:
    """How many seconds to wait, 0 for somebody who gets a place."""
    try:
        with limits.place(user, address, watch=watch):
            return 0
    except ApiError as error:
        return int(error.details["retryAfterSeconds"]) if error.code == 429 else -1


def test_all_together_have_so_many_places_and_the_administrator_one_more() -> None:
    limits = Limits(RequestLimits(inflight=2, per_client=0), FakeClock())
    with ExitStack() as taken:
        for user in (ANN, BOB):
            taken.enter_context(limits.place(user, "", watch=False))
        assert refused(limits, User("eve")) == 1
        assert refused(limits, ADMIN) == 0
        assert refused(limits, ANN, watch=True) == 0
    assert refused(limits, User("eve")) == 0


def test_one_client_leaves_places_for_the_others() -> None:
    limits = Limits(RequestLimits(inflight=10, per_client=1), FakeClock())
    with limits.place(ANN, "", watch=False):
        assert refused(limits, ANN) == 1
        assert refused(limits, BOB) == 0
    assert refused(limits, ANN) == 0


def test_strangers_are_told_apart_by_their_address() -> None:
    limits = Limits(RequestLimits(per_client=1), FakeClock())
    with limits.place(NOBODY, "192.0.2.1", watch=False):
        assert refused(limits, NOBODY, "192.0.2.1") == 1
        assert refused(limits, NOBODY, "192.0.2.2") == 0


def test_a_place_is_free_again_however_the_request_ended() -> None:
    limits = Limits(RequestLimits(inflight=1), FakeClock())
    with pytest.raises(ValueError, match="broken"), limits.place(ANN, "", watch=False):
        raise ValueError("broken")
    assert refused(limits, ANN) == 0


def test_a_burst_and_then_so_many_in_a_second() -> None:
    clock = FakeClock()
    limits = Limits(RequestLimits(rate=0.5, burst=2), clock)
    assert [refused(limits, ANN) for _ in range(3)] == [0, 0, 2]
    assert refused(limits, BOB) == 0
    assert refused(limits, ADMIN) == 0
    clock.advance(2)
    assert [refused(limits, ANN), refused(limits, ANN, watch=True)] == [0, 2]
    clock.advance(1000)
    assert [refused(limits, ANN) for _ in range(3)] == [0, 0, 2]
