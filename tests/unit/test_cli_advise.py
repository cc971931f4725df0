"""`fairway advise`: the words, the JSON, and questions that make no sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.cli.advise import way_there
from fairway.cli.main import run
from fairway.diagnose.advice import Advice
from fairway.diagnose.cluster import Cluster
from fairway.diagnose.facts import of_cluster
from fairway.modes.registry import MODES

MANIFEST = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, externalIPs: [192.0.2.9], ports: [{port: 80}]}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "objects.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_everything_is_said_in_words(manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "-f", manifest]) == 0
    out = capsys.readouterr().out
    assert out.startswith("recommended: ")
    assert "the cluster, as node n1 sees it: Services 1, frontends " in out
    assert "in use: external IPs (1)" in out
    assert "spec.externalIPs (1 Service): deprecated in 1.36" in out
    assert all(f" {mode} (" in out for mode in MODES)


def test_json_has_the_facts_and_the_advice(manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "n1", "-f", manifest, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["node"] == "n1"
    assert found["facts"]["uses"] == {"external IPs": 1}
    assert set(found["facts"]["candidates"]) == set(MODES)
    assert {one["mode"] for one in found["advice"]["options"]} == set(MODES)
    assert found["advice"]["recommended"] == found["advice"]["options"][0]["mode"]
    assert found["switch"] == ""


@pytest.mark.parametrize(
    "now, recommended, node, way",
    [
        ("iptables", "nftables", None, "fairway switch --to nftables"),
        ("ipvs", "iptables", "node-2", "fairway switch node-2 --to iptables"),
        ("nftables", "nftables", None, ""),
        ("", "nftables", None, ""),
        ("nftables", "", None, ""),
    ],
)
def test_the_way_to_what_is_recommended_is_a_switch(now: str, recommended: str, node: str | None, way: str) -> None:
    given = Advice(recommended=recommended, options=(), settings=(), upstream=(), rests_on=())
    assert way_there(replace(of_cluster(Cluster(), None), mode=now), given, node) == way


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["n2"], "no node 'n2'; nodes are: n1"),
        (["--watch", "5"], "--watch: files do not change: it needs a cluster"),
        (["--watch=-1"], "--watch: a number of seconds greater than 0"),
        (["--watch=nan"], "--watch: a number of seconds greater than 0"),
    ],
)
def test_a_question_that_makes_no_sense_is_told(
    manifest: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["advise", *arguments, "-f", manifest]) == 2
    assert words in capsys.readouterr().err


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hostile.yaml"
    annotated = 'metadata: {name: "a\\e[31m", annotations: {fairway.dev/ipvs-scheduler: lc}}'
    path.write_text(
        f"{{kind: Service, apiVersion: v1, {annotated}, spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}}}"
    )
    assert run(["advise", "-f", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Service default/a?[31m:" in out
    assert all(line.isprintable() for line in out.splitlines())
