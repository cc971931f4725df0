"""Unit tests of `fairway.cli.bench`: questions that make no sense are told so before anything is made."""

from __future__ import annotations

import pytest

from fairway.cli.main import run


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--changes", "0"], "--changes: there must be at least one"),
        (["--repeat", "0"], "--repeat: at least one run"),
        (["--rate", "-1"], "--rate: changes a second, or 0"),
        (["--pause", "-1"], "--pause: at least 0 and less than 60 seconds"),
        (["--pause", "nan"], "--pause: at least 0 and less than 60 seconds"),
        (["--services", "0"], "there must be at least one Service"),
        (["--mode", "magic"], "--mode: no mode 'magic'; there is: nftables"),
        (["--backends", "101", "--command", "x {kubeconfig}"], "--backends: with --command at most 100"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "programming", *arguments]) == 2
    assert words in capsys.readouterr().err
