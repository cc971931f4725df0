"""Unit tests of `fairway.cli.program`: what a file's Services come to, and what cannot be served as it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairway.cli.main import run

OBJECTS = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {fairway.dev/balancing: round-robin}}
spec: {clusterIP: 010.96.0.5, internalTrafficPolicy: Near, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: well, namespace: shop}
spec: {clusterIP: 10.96.0.6, ports: [{port: 80}]}
"""
WRONG = [
    "Service shop/web: spec.clusterIPs[0]: '010.96.0.5' is read as 10.96.0.5",
    "Service shop/web: spec.internalTrafficPolicy: 'Near' must be Cluster or Local; it is Cluster",
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "objects.yaml"
    path.write_text(OBJECTS)
    return str(path)


def test_what_is_not_served_as_it_is_written_is_told_beside_the_program(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["program", "--filename", file]) == 0
    said = capsys.readouterr()
    assert "10.96.0.5 . tcp . 80" in said.out
    assert "not served" not in said.out
    assert said.err.splitlines()[:2] == [f"not served as it is written: {one}" for one in WRONG]


def test_as_json_it_is_a_list(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["program", "n1", "--filename", file, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"][:2] == WRONG


def test_a_packet_is_told_what_is_wrong_with_its_own_service_alone(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["trace", "n1", "shop/web", "--filename", file]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-len(WRONG) :] == [f"not served as it is written: {one}" for one in WRONG]
    assert run(["trace", "n1", "shop/well", "--filename", file]) == 1
    assert "not served as" not in capsys.readouterr().out
