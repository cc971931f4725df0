"""`fairway conform`: a mode that does its work passes, one that does not is caught, and nothing is left behind."""

from __future__ import annotations

import json

import pytest

from fairway.cli.main import run
from fairway.conform.run import chosen, conform
from fairway.kernel import namespaces
from fairway.model.view import NodeView
from fairway.modes.nftables import NftablesMode, Program

pytestmark = pytest.mark.kernel


class Forgetful(NftablesMode):
    """Knows no Service on the second node."""

    def program(self, view: NodeView) -> Program:
        known = {} if view.settings.name == "node-2" else view.frontends
        return super().program(NodeView(settings=view.settings, frontends=known))


def test_the_command_plays_the_scenarios_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conform", "--mode", "nftables", "--scenario", "hairpin", "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["passed"]] == ["hairpin"]
    assert (found["failed"], found["not_applicable"], found["packets"]) == ([], [], 3)
    assert not namespaces.names("fw-conform-")


def test_a_mode_that_forgets_is_caught_with_the_packet_and_its_way() -> None:
    told: list[str] = []
    report = conform(Forgetful(), chosen(["cross-node"]), lambda kind, result: told.append(f"{kind} {result.name}"))
    assert told == ["failed cross-node"]
    assert report.passed == []
    assert "expected deliver web-2:8080 as client" in report.failed[0].reason
    assert "client-2" in report.failed[0].reason
    assert "client-1" not in report.failed[0].reason
