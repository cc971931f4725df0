"""Unit tests of `fairway.conform.scenario`: what the files of a scenario say, and what they may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.conform.scenario import PLACES, STAGE, Scenario, ScenarioError, Step, read_packets
from fairway.model.packet import Verdict


def scenario(folder: Path, description: str = "") -> Scenario:
    if description:
        (folder / "scenario.yaml").write_text(description)
    return Scenario(folder, (Step(folder, ""),))


def test_everybody_has_an_address_in_each_family() -> None:
    assert PLACES["web-1"].addresses == ("10.244.1.3", "fd00:10:244:1::3")
    assert PLACES["outside"].facing("10.96.0.1") == "192.0.2.10"
    assert PLACES["node-2"].facing("fd00:10:96::1") == "fd00:172:30::2"


def test_a_line_of_ipv6_names_addresses_of_that_family(tmp_path: Path) -> None:
    path = tmp_path / "packets.txt"
    path.write_text("tcp client-1 -> [fd00:10:96::1]:80   deliver web-2:8080 as client, web-1:8080 as node\n")
    (line,) = read_packets(path)
    assert (line.packet.source, line.packet.destination) == ("fd00:10:244:1::2", "fd00:10:96::1")
    backends = {("fd00:10:244:2::3", 8080, False), ("fd00:10:244:1::3", 8080, True)}
    assert line.essence == (Verdict.DELIVER, frozenset(backends))


def test_a_mode_is_excused_with_its_reason(tmp_path: Path) -> None:
    one = scenario(tmp_path, "asserts: something\nnotApplicable: {ipvs: it has no such rule}\n")
    assert one.not_applicable("ipvs") == "it has no such rule"
    assert one.not_applicable("nftables") == ""
    assert scenario(tmp_path).description.asserts == "something"


def test_a_description_with_an_unknown_field_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"/scenario.yaml: .*`notApplicabel`"):
        scenario(tmp_path, "notApplicabel: {ipvs: x}\n").not_applicable("ipvs")


def test_a_node_is_as_its_file_says(tmp_path: Path) -> None:
    node = STAGE.nodes[0]
    plain = Step(tmp_path, "").settings(node)
    assert (plain.zone, plain.node_port_addresses) == ("zone-a", None)
    assert plain.detects_pods("IPv6")
    (tmp_path / "node.yaml").write_text('zone: ""\nnodePortNetworks: [172.30.0.0/24]\npodNetworks: []\n')
    told = Step(tmp_path, "").settings(node)
    assert (told.zone, told.node_port_addresses) == ("", ("172.30.0.1",))
    assert not told.detects_pods("IPv4")
