"""A program's failure keeps everything needed to understand it."""

from __future__ import annotations

import sys

import pytest

from fairway.kernel.command import CommandFailed, run

PYTHON = sys.executable


def test_the_output_is_what_the_program_wrote() -> None:
    assert run([PYTHON, "-c", "print('hello')"]) == "hello\n"


def test_input_reaches_the_program_and_without_input_it_reads_nothing() -> None:
    echo = [PYTHON, "-c", "import sys; print(sys.stdin.read()[::-1])"]
    assert run(echo, input="abc") == "cba\n"
    assert run(echo) == "\n"


def test_the_environment_is_added_to_ours() -> None:
    show = [PYTHON, "-c", "import os; print(os.environ['FAIRWAY_LAB'], 'PATH' in os.environ)"]
    assert run(show, environment={"FAIRWAY_LAB": "x"}) == "x True\n"


def test_a_failure_tells_the_command_its_code_and_its_words() -> None:
    with pytest.raises(CommandFailed) as caught:
        run([PYTHON, "-c", "import sys; print('said'); print('bad thing', file=sys.stderr); sys.exit(3)"])
    failure = caught.value
    assert (failure.exit_code, failure.stdout, failure.stderr) == (3, "said\n", "bad thing\n")
    assert failure.argv[0] == PYTHON
    assert str(failure).endswith("exit code 3\n  bad thing")


def test_a_program_that_is_not_there_says_so() -> None:
    with pytest.raises(CommandFailed, match="no-such-program: cannot be started: No such file") as caught:
        run(["no-such-program"])
    assert caught.value.exit_code is None


def test_a_program_that_takes_too_long_is_stopped_and_keeps_what_it_said() -> None:
    with pytest.raises(CommandFailed, match=r"did not end within 2 s") as caught:
        # The shell, which has said so long before: Python takes its time to begin.
        run(["sh", "-c", "echo waiting; exec sleep 60"], timeout=2)
    assert caught.value.stdout == "waiting\n"
