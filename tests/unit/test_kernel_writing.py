"""Unit tests of `fairway.kernel.writing`: a name in the kernel, and processes that hold it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fairway.kernel.command import run
from fairway.kernel.writing import NAME, wait_for_writers, writing

SECONDS = 30.0
HOLD = "import sys; print('here', flush=True); sys.stdin.read()"
BIND = f"import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind({NAME!r}); s.listen(0)"
ASK = "c = [socket.socket(socket.AF_UNIX) for _ in 'abc']; [one.setblocking(False) for one in c]"
FILL = f"{ASK}; [one.connect_ex({NAME!r}) for one in c]"


@contextmanager
def process(program: str, *inherited: int) -> Iterator[subprocess.Popen[bytes]]:
    """Until its input ends, once it has said that it is here."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, pass_fds=inherited) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"here\n"
        yield started


def test_where_nobody_writes_nobody_waits() -> None:
    told: list[str] = []
    wait_for_writers(told.append)
    with writing():
        pass
    wait_for_writers(told.append)
    assert told == []


def test_a_tool_inherits_the_name_and_is_waited_for_when_its_starter_is_gone() -> None:
    told: list[str] = []
    heard, over = threading.Event(), threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        heard.set()

    def wait() -> None:
        wait_for_writers(tell, SECONDS)
        over.set()

    with writing() as inherited:
        holding = process(HOLD, *inherited)
        tool = holding.__enter__()
    waiter = threading.Thread(target=wait)
    waiter.start()
    assert heard.wait(SECONDS)
    assert f"(pid {tool.pid}) is still writing what a proxy before has told it: waiting for its end" in told[0]
    assert not over.is_set()
    holding.__exit__(None, None, None)
    assert over.wait(SECONDS)
    waiter.join()
    assert len(told) == 1


def test_a_tool_that_does_not_end_is_named_when_patience_ends() -> None:
    with writing() as inherited, process(HOLD, *inherited) as tool:
        with pytest.raises(TimeoutError, match=r"is still writing .*, after 0.1 s; end it"):
            wait_for_writers(lambda _: None, 0.1)
        assert tool.poll() is None


def test_two_that_write_take_turns() -> None:
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with writing():
            order.append("second")

    with writing():
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(SECONDS)
        order.append("first")
    thread.join(SECONDS)
    assert order == ["first", "second"]


def test_what_a_program_inherits_it_has() -> None:
    with writing() as inherited:
        (descriptor,) = inherited
        show = [sys.executable, "-c", f"import os; print(os.fstat({descriptor}).st_ino)"]
        assert int(run(show, inherited=inherited)) == os.fstat(descriptor).st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
@pytest.mark.parametrize("also", ["", f"{FILL}; "], ids=["who listens", "who lets nobody in"])
def test_a_stranger_who_takes_the_name_holds_nobody_up(also: str) -> None:
    told: list[str] = []
    with process(f"{BIND}; {also}{HOLD}"):
        wait_for_writers(told.append, SECONDS)
        with writing() as inherited:
            assert inherited == ()
    assert told == []
