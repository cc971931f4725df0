"""Unit tests of `fairway.cli.conform`: what can be asked without root, and what is told of what cannot."""

from __future__ import annotations

import json

import pytest

from fairway.cli.main import run
from fairway.conform.scenario import scenarios


def test_the_scenarios_are_named_without_sending_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conform", "--list", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [one.name for one in scenarios()]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--mode", "magic"], "no mode 'magic'; there is: nftables"),
        (["--scenario", "hairpins"], "no scenario is called 'hairpins'; there is hairpin (--list names all)"),
        (["--scenario", "0"], "no scenario is called '0'; there is backend-on-the-node, "),
    ],
)
def test_what_there_is_not_is_told(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conform", *arguments]) == 2
    assert words in capsys.readouterr().err
