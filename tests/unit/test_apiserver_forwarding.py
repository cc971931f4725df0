"""Unit tests of `fairway.apiserver.forwarding`: where services/NAME/proxy and pods/NAME/proxy lead."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.forwarding import Forwarding, Place, Way, find_way
from fairway.objects.resources import ENDPOINT_SLICES, PODS, SERVICES
from fairway.objects.status import ApiError
from tests.unit.api_calls import Calls, pod, service, start

NO_ENDPOINTS = 'no endpoints available for service "{}"'


def endpoint(address: str, **more: Any) -> dict[str, Any]:
    return {"addresses": [address], **more}


def endpoint_slice(service: str, ports: dict[str, int], *endpoints: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{service}-{len(ports)}", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": number} for name, number in ports.items()],
        "endpoints": list(endpoints),
        **more,
    }


async def cluster() -> Calls:
    """A Service with two ports, and three endpoints of which two are ready."""
    calls = await start()
    ports = [{"name": "web", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81}]
    ready = [endpoint("10.0.0.1"), endpoint("10.0.0.2", conditions={"ready": True})]
    unready = endpoint("10.0.0.3", conditions={"ready": False})
    for resource, document in (
        (SERVICES, service("cart", ports=ports)),
        (ENDPOINT_SLICES, endpoint_slice("cart", {"web": 8080, "admin": 9090}, unready, *ready)),
        (ENDPOINT_SLICES, endpoint_slice("other", {"web": 1}, endpoint("10.0.0.9"))),
    ):
        assert (await calls("POST", resource.path("default"), document)).status == 201
    return calls


async def place(calls: Calls, name: str, resource: str = "services") -> Place:
    return await Forwarding(calls.app.registry, lambda count: 0).place(Way(resource, "default", name, ""))


async def refusal(calls: Calls, name: str, resource: str = "services") -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        await place(calls, name, resource)
    return refused.value.code, refused.value.message


@pytest.mark.parametrize(
    "path, way",
    [
        ("/api/v1/namespaces/a/services/b/proxy", Way("services", "a", "b", "")),
        ("/api/v1/namespaces/a/services/b/proxy/", Way("services", "a", "b", "/")),
        ("/api/v1/namespaces/a/services/https:b:c/proxy/d%2Fe/", Way("services", "a", "https:b:c", "/d%2Fe/")),
        ("/api/v1/namespaces/a/pods/b:80/proxy/c/d", Way("pods", "a", "b:80", "/c/d")),
        ("/api/v1/namespaces/a/services/b/status", None),
        ("/api/v1/namespaces/a/configmaps/b/proxy", None),
        ("/api/v1/services/b/proxy", None),
    ],
)
def test_the_way_in_a_path(path: str, way: Way | None) -> None:
    assert find_way(path) == way


@pytest.mark.parametrize(
    "method, verb",
    [("GET", "get"), ("HEAD", "get"), ("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")],
)
def test_the_permission_is_that_of_the_method_on_the_name_as_written(method: str, verb: str) -> None:
    asked = Way("services", "shop", "https:cart%3Aweb", "/x").asked(method)
    assert asked == (verb, "", "services", "proxy", "shop", "https:cart:web", "")


@pytest.mark.reference("5.7 proxy")
@pytest.mark.parametrize(
    "name, found",
    [
        ("cart:web", Place("http", "10.0.0.1", 8080)),
        ("cart:80", Place("http", "10.0.0.1", 8080)),
        ("cart:81", Place("http", "10.0.0.1", 9090)),
        ("http:cart:admin", Place("http", "10.0.0.1", 9090)),
        ("https:cart:80", Place("https", "10.0.0.1", 8080)),
        ("https:cart%3A80", Place("https", "10.0.0.1", 8080)),
    ],
)
async def test_a_port_by_name_or_number_leads_to_a_ready_endpoint(name: str, found: Place) -> None:
    assert await place(await cluster(), name) == found


@pytest.mark.reference("5.7 proxy")
async def test_every_ready_endpoint_is_drawn_and_no_other() -> None:
    calls, drawn = await cluster(), set()
    for choice in range(2):

        def draw(count: int, choice: int = choice) -> int:
            assert count <= 2
            return min(choice, count - 1)

        drawn.add((await Forwarding(calls.app.registry, draw).place(Way("services", "default", "cart:80", ""))).address)
    assert drawn == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.reference("5.7 proxy")
@pytest.mark.parametrize(
    "name, code, message",
    [
        ("cart:82", 503, 'no service port 82 found for service "cart"'),
        ("cart:nope", 503, NO_ENDPOINTS.format("cart:nope")),
        ("cart", 503, NO_ENDPOINTS.format("cart")),
        ("lost:80", 404, 'services "lost" not found'),
        ("ftp:cart:80", 400, 'invalid service request "ftp:cart:80"'),
        (":80", 400, 'invalid service request ":80"'),
        ("http:cart:80:1", 400, 'invalid service request "http:cart:80:1"'),
    ],
)
async def test_what_leads_nowhere_is_told_in_kubernetes_words(name: str, code: int, message: str) -> None:
    assert await refusal(await cluster(), name) == (code, message)


@pytest.mark.reference("5.7 proxy")
async def test_a_service_with_one_port_without_a_name_needs_none() -> None:
    calls = await start()
    await calls("POST", SERVICES.path("default"), service("cart"))
    assert await refusal(calls, "cart") == (503, NO_ENDPOINTS.format("cart"))
    six = endpoint_slice("cart", {"": 8080}, endpoint("2001:db8::1"), addressType="IPv6")
    await calls("POST", ENDPOINT_SLICES.path("default"), six)
    assert (await place(calls, "cart")).authority == "[2001:db8::1]:8080"


@pytest.mark.reference("5.7 proxy")
async def test_an_endpoint_that_says_it_is_a_pod_has_to_be_that_pods_address() -> None:
    calls = await start()
    await calls("POST", SERVICES.path("default"), service("cart"))
    ends = [
        endpoint(address, targetRef={"kind": kind, "name": name})
        for address, kind, name in (
            ("10.0.0.1", "Pod", "gone"),
            ("10.0.0.2", "Pod", "web"),
            ("10.0.0.3", "Node", "web"),
            ("10.0.0.4", "Pod", "web"),
        )
    ]
    await calls("POST", ENDPOINT_SLICES.path("default"), endpoint_slice("cart", {"": 8080}, *ends))
    await calls("POST", PODS.path("default"), pod("web"))
    assert (await refusal(calls, "cart"))[0] == 503
    status = {"status": {"podIP": "10.0.0.4", "podIPs": [{"ip": "10.0.0.4"}]}}
    merge = "application/merge-patch+json"
    await calls("PATCH", PODS.path("default", "web") + "/status", status, content_type=merge)
    assert (await place(calls, "cart")).address == "10.0.0.4"


@pytest.mark.reference("5.7 proxy")
async def test_a_pod_is_reached_at_its_first_port_or_the_one_named() -> None:
    calls = await start()
    document = pod("web")
    document["spec"]["containers"][0]["ports"] = [{"containerPort": 8080}]
    await calls("POST", PODS.path("default"), document)
    assert await refusal(calls, "web", "pods") == (503, 'pod "web" has no address yet')
    status = {"status": {"podIP": "10.0.0.4", "podIPs": [{"ip": "10.0.0.4"}]}}
    merge = "application/merge-patch+json"
    await calls("PATCH", PODS.path("default", "web") + "/status", status, content_type=merge)
    assert await place(calls, "web", "pods") == Place("http", "10.0.0.4", 8080)
    assert await place(calls, "https:web:443", "pods") == Place("https", "10.0.0.4", 443)
    assert (await refusal(calls, "web:http", "pods"))[0] == 400
    assert (await refusal(calls, "lost", "pods"))[0] == 404
    await calls("PATCH", PODS.path("default", "web") + "/status", {"status": {"podIPs": [{"ip": "127.0.0.1"}]}},
                content_type=merge)  # fmt: skip
    assert await refusal(calls, "web", "pods") == (400, "address not allowed")


async def test_the_root_of_an_endpoint_has_a_slash() -> None:
    calls = await cluster()
    answer = await calls("GET", "/api/v1/namespaces/default/services/cart:80/proxy?full=1")
    assert answer.status == 301
    assert answer.headers["location"] == "/api/v1/namespaces/default/services/cart:80/proxy/?full=1"


async def test_discovery_lists_the_proxy_subresources() -> None:
    rows = {row["name"]: row for row in (await (await start())("GET", "/api/v1")).json["resources"]}
    assert rows["services/proxy"]["kind"] == "ServiceProxyOptions"
    assert rows["pods/proxy"]["verbs"] == ["create", "delete", "get", "patch", "update"]
