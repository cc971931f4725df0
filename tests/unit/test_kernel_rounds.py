"""Unit tests of `fairway.kernel.rounds`: what a look finds, and how it is told."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fairway.kernel.nfnetlink import KernelRefused, Refusal
from fairway.kernel.rounds import Rounds

WHO = "somebody (nobody tells who)"


@contextmanager
def rounds(*looks: bool | Exception) -> Iterator[Rounds]:
    """Those that see this, one after the other."""
    left = iter(looks)

    def changed() -> bool:
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    made = Rounds(changed, WHO)
    try:
        yield made
    finally:
        made.close()


def readable(one: Rounds) -> bool:
    return bool(select.select([one.fileno()], [], [], 0)[0])


def test_where_nothing_has_changed_nobody_is_woken() -> None:
    with rounds(False) as made:
        made.look()
        assert not readable(made)
        assert made.others() == []


def test_a_change_wakes_the_loop_once_however_often_it_was_seen() -> None:
    with rounds(True, True) as made:
        made.look()
        made.look()
        assert readable(made)
        assert made.others() == [WHO]
        assert not readable(made)
        assert made.others() == []


def test_a_look_that_fails_has_the_whole_read() -> None:
    with rounds(KernelRefused([Refusal("list sets", 1)]), OSError("gone")) as made:
        for _ in range(2):
            made.look()
            assert made.others() == [WHO]


def test_its_thread_ends_with_it_and_waits_for_no_look() -> None:
    before = set(threading.enumerate())
    with rounds():
        assert [one.name for one in set(threading.enumerate()) - before] == ["rounds"]
    assert not set(threading.enumerate()) - before
