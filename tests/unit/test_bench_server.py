"""Unit tests of `fairway.bench.server`: what any proxy asks an API server for, and what it hears."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from fairway.bench.server import ListServer
from fairway.bench.shape import NODE, Shape

SHAPE = Shape(services=2, backends=1)
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
OLD_SLICES = "/apis/discovery.k8s.io/v1beta1/endpointslices"


@pytest.fixture
def server() -> Iterator[tuple[ListServer, http.client.HTTPConnection]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, ListServer(listener, SHAPE.lists()) as running:
        host, port = listener.getsockname()
        connection = http.client.HTTPConnection(host, port, timeout=30)
        yield running, connection
        connection.close()


def test_lists_by_their_plural_and_the_node_by_its_name(server: tuple[ListServer, http.client.HTTPConnection]) -> None:
    _, connection = server
    found = {}
    for path in ("/api/v1/services?limit=500", f"/api/v1/nodes/{NODE}", "/api/v1/nodes/other", SLICES):
        connection.request("GET", path)
        answer = connection.getresponse()
        found[path] = (answer.status, json.loads(answer.read()))
    services, node, other, slices = found.values()
    assert (services[0], len(services[1]["items"])) == (200, 2)
    assert (node[0], node[1]["kind"], node[1]["metadata"]["name"]) == (200, "Node", NODE)
    assert (other[0], other[1]["message"]) == (404, "the made-up cluster has nothing under this path")
    assert (slices[0], slices[1]["apiVersion"]) == (200, "discovery.k8s.io/v1")


def test_a_proxy_from_before_1_21_gets_slices_in_the_version_that_it_asks_for(
    server: tuple[ListServer, http.client.HTTPConnection],
) -> None:
    running, connection = server
    connection.request("GET", OLD_SLICES)
    listed = json.loads(connection.getresponse().read())
    assert (listed["apiVersion"], len(listed["items"])) == ("discovery.k8s.io/v1beta1", 2)
    assert {one["apiVersion"] for one in listed["items"]} == {"discovery.k8s.io/v1beta1"}
    connection.request("GET", f"{OLD_SLICES}?watch=true")
    watch = connection.getresponse()
    _, _, event = next(SHAPE.toggles(1))
    running.send("endpointslices", event)
    told = json.loads(watch.readline())
    assert (told["type"], told["object"]["apiVersion"]) == ("MODIFIED", "discovery.k8s.io/v1beta1")


def test_a_change_is_told_word_by_word(server: tuple[ListServer, http.client.HTTPConnection]) -> None:
    running, connection = server
    connection.request("GET", f"{SLICES}?watch=true")
    watch = connection.getresponse()
    _, _, event = next(SHAPE.toggles(1))
    before = time.perf_counter()
    moment = running.send("endpointslices", event)
    assert watch.readline() == event
    assert before <= moment <= time.perf_counter()


def test_streaming_lists_are_refused_so_that_clients_list(
    server: tuple[ListServer, http.client.HTTPConnection],
) -> None:
    _, connection = server
    connection.request("GET", f"{SLICES}?watch=true&sendInitialEvents=true")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["reason"]) == (422, "Invalid")
