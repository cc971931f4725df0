"""``fairway bench api``: what its command line refuses."""

from __future__ import annotations

import pytest

from fairway.cli.main import run


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--services", "0"], "--services 0: at least 1 is needed"),
        (["--watchers", "-3"], "--watchers -3: at least 1 is needed"),
        (["--patches", "0"], "--patches 0: at least 1 is needed"),
        (["--changes", "0"], "--changes 0: at least 1 is needed"),
        (["--storage", "etcd"], "--storage etcd and --etcd-servers need each other"),
        (["--etcd-servers", "http://127.0.0.1:1"], "--storage etcd and --etcd-servers need each other"),
        (["--watchers", "2000000000"], "--watchers 2000000000 needs 2000000256 open files"),
        (["--storage", "paper"], "paper"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_starts(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "api", *arguments]) != 0
    said = capsys.readouterr()
    assert problem in said.err + said.out
