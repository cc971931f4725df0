"""Unit tests of `fairway.proxy.claim`."""

from __future__ import annotations

import os

import pytest

from fairway.proxy.claim import Claim, Taken


def test_a_second_proxy_is_told_which_process_is_the_first_and_may_follow_it() -> None:
    with Claim(), pytest.raises(Taken) as raised:
        Claim()
    assert raised.value.process == os.getpid()
    assert f"process {os.getpid()}" in str(raised.value)
    with Claim():
        pass


def test_whoever_asks_often_is_still_told_which_process_it_is() -> None:
    with Claim():
        for _ in range(20):
            with pytest.raises(Taken) as raised:
                Claim()
            assert raised.value.process == os.getpid()
