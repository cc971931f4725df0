"""Unit tests of `fairway.cli.ending`."""

from __future__ import annotations

import signal

import pytest

from fairway.cli.ending import tidy


def test_sigterm_ends_what_is_done_by_an_exception_and_a_second_one_does_not_disturb() -> None:
    before = signal.getsignal(signal.SIGTERM)
    tidied: list[str] = []

    def work() -> None:
        with tidy():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
                tidied.append("all")

    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == 143
    assert tidied == ["all"]
    assert signal.getsignal(signal.SIGTERM) is before
