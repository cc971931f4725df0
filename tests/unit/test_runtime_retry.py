"""Unit tests of `fairway.runtime.retry`."""

from __future__ import annotations

import pytest

from fairway.runtime.retry import Backoff, Patience, Retries


def test_waits_double_up_to_the_most() -> None:
    backoff = Backoff(first=1, most=5, jitter=0)
    assert [backoff.delay(failures, 0.9) for failures in (1, 2, 3, 4, 10_000)] == [1, 2, 4, 5, 5]


def test_chance_only_shortens_a_wait() -> None:
    backoff = Backoff(first=8, most=8, jitter=0.5)
    assert backoff.delay(1, 0.0) == 8
    assert backoff.delay(1, 0.5) == pytest.approx(6)


def test_failures_are_counted_for_each_item_until_it_succeeds() -> None:
    retries: Retries[str] = Retries(Patience(Backoff(first=1, jitter=0)))
    assert [retries.failed("a"), retries.failed("a"), retries.failed("b")] == [(1, 1), (2, 2), (1, 1)]
    assert retries.succeeded("a") == 2
    assert retries.succeeded("a") == 0
    assert retries.failed("a") == (1, 1)
