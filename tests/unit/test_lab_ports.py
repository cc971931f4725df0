"""What a pod serves is read from what its containers declare."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.lab.ports import ServedPort, served_ports, target
from fairway.objects.cluster import Pod
from fairway.objects.codec import view


def pod(*ports: dict[str, Any], **container: Any) -> Pod:
    return view({"spec": {"containers": [{"ports": list(ports), **container}]}}, Pod)


def languages(made: Pod) -> list[str]:
    return [port.language for port in served_ports(made)]


@pytest.mark.parametrize("name", ["http", "http-metrics", "web", "metrics", "exporter", "tls-ui"])
def test_a_name_can_suggest_http(name: str) -> None:
    expected = "line" if name.startswith("tls") else "http"
    assert languages(pod({"name": name, "containerPort": 4711})) == [expected]


@pytest.mark.parametrize("name", ["grpc", "grpc-web", "https", "redis", "mongo", "tcp-http", "api-grpc"])
def test_a_name_can_suggest_something_else_even_on_a_well_known_port(name: str) -> None:
    assert languages(pod({"name": name, "containerPort": 8080})) == ["line"]


def test_without_a_name_a_well_known_number_suggests_http() -> None:
    assert languages(pod({"containerPort": 80})) == ["http"]
    assert languages(pod({"containerPort": 27017})) == ["line"]


def test_a_probe_tells_more_than_a_number() -> None:
    http = {"readinessProbe": {"httpGet": {"path": "/", "port": 7000}}}
    assert languages(pod({"containerPort": 7000}, **http)) == ["http"]
    grpc = {"livenessProbe": {"grpc": {"port": 8080}}}
    assert languages(pod({"containerPort": 8080}, **grpc)) == ["line"]
    tcp = {"readinessProbe": {"tcpSocket": {"port": "main"}}}
    assert languages(pod({"containerPort": 8080, "name": "main"}, **tcp)) == ["line"]
    named = {"startupProbe": {"httpGet": {"port": "main"}}}
    assert languages(pod({"containerPort": 7000, "name": "main"}, **named)) == ["http"]


def test_udp_never_speaks_http() -> None:
    assert served_ports(pod({"containerPort": 80, "protocol": "UDP", "name": "http"})) == (
        ServedPort(80, "UDP", "http", "line"),
    )


def test_one_number_may_be_served_over_two_protocols_but_only_once_over_one() -> None:
    made = pod(
        {"containerPort": 53, "protocol": "UDP", "name": "dns"},
        {"containerPort": 53, "protocol": "TCP", "name": "dns-tcp"},
        {"containerPort": 53, "protocol": "UDP", "name": "again"},
    )
    assert [(port.number, port.protocol) for port in served_ports(made)] == [(53, "TCP"), (53, "UDP")]


def test_a_sidecar_serves_and_an_init_container_does_not() -> None:
    init = [
        {"name": "proxy", "restartPolicy": "Always", "ports": [{"containerPort": 15001}]},
        {"name": "setup", "ports": [{"containerPort": 15002}]},
    ]
    made = view({"spec": {"containers": [{"name": "main"}], "initContainers": init}}, Pod)
    assert [port.number for port in served_ports(made)] == [15001]


def test_a_target_port_is_found_by_name_and_by_number_within_its_protocol() -> None:
    made = pod({"containerPort": 8080, "name": "web"}, {"containerPort": 8125, "protocol": "UDP", "name": "stats"})
    assert target(made, "web", "TCP") == target(made, 8080, "TCP") == target(made, "8080", "TCP")
    assert target(made, "web", "TCP") == ServedPort(8080, "TCP", "web", "http")
    assert target(made, "stats", "UDP") == ServedPort(8125, "UDP", "stats")
    assert target(made, "stats", "TCP") is None
    assert target(made, 9999, "TCP") is None
