"""Objects that cannot be served as they are: what is said about them, and that the rest is served."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.model.endpoints import Endpoints
from fairway.model.limits import MOST_BACKENDS, MOST_FRONTENDS, MOST_RANGES, is_special
from fairway.model.problems import contradictions, service_problems, slice_problems, too_many
from fairway.model.resolve import resolve_endpoints, resolve_service
from fairway.model.view import Frontend, Key, NodeSettings
from fairway.objects.codec import view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service, ServicePort
from tests.steps import steps

NODE = NodeSettings(name="node-1", addresses=("192.168.0.2",), pod_networks=("10.0.0.0/8",))
WEB = Key("shop", "web")
HTTP = {"name": "http", "port": 80}


def service(annotations: dict[str, str] | None = None, **spec: Any) -> Service:
    metadata = {"name": "web", "namespace": "shop", "annotations": annotations}
    status = {"loadBalancer": {"ingress": spec.pop("ingress", None)}}
    return view(
        {"metadata": metadata, "spec": {"clusterIP": "10.96.0.1", "ports": [HTTP], **spec}, "status": status}, Service
    )


def slice_(*endpoints: dict[str, Any] | str, name: str = "web-a", **fields: Any) -> EndpointSlice:
    metadata = {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    metadata["annotations"] = fields.pop("annotations", None)
    found = [{"addresses": [one]} if isinstance(one, str) else one for one in endpoints]
    whole = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], **fields}
    return view({"metadata": metadata, "endpoints": found, **whole}, EndpointSlice)


def frontends(one: Service, *slices: EndpointSlice) -> dict[str, Frontend]:
    return {str(found.key): found for found in resolve_service(one, slices, NODE)}


def told(one: Service) -> list[str]:
    return [str(problem).removeprefix("Service shop/web: ") for problem in service_problems(one)]


def test_a_service_without_fault_has_no_problems() -> None:
    assert told(service(externalIPs=["198.51.100.1"], sessionAffinity="ClientIP")) == []
    assert slice_problems(WEB, slice_("10.0.0.1", {"addresses": []})) == ()


@pytest.mark.parametrize(
    "spec, expected, served",
    [
        ({"clusterIPs": ["10.96.0.1", "nonsense"]}, ["spec.clusterIPs[1]: 'nonsense' is no IP address"], 1),
        ({"clusterIPs": ["010.96.0.1"]}, ["spec.clusterIPs[0]: '010.96.0.1' is read as 10.96.0.1"], 1),
        ({"externalIPs": ["0.0.0.0"]}, ["spec.externalIPs[0]: '0.0.0.0' is no address that others could reach"], 1),
        ({"externalIPs": ["127.0.0.1"]}, ["spec.externalIPs[0]: '127.0.0.1' is no address that others could reach"], 1),
        (
            {"externalIPs": ["2001:db8::1"]},
            ["spec.externalIPs[0]: '2001:db8::1' takes no traffic: the Service has no cluster IP of its family"],
            1,
        ),
        (
            {"type": "LoadBalancer", "ingress": [{"ip": "169.254.80.79"}, {"ip": "203.0.113.1"}]},
            ["status.loadBalancer.ingress[0].ip: '169.254.80.79' is no address that others could reach"],
            2,
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
            ["spec.loadBalancerSourceRanges[0]: '10.0.0.0' is no network in CIDR form: it is left out"],
            1,
        ),
        (
            {
                "type": "LoadBalancer",
                "clusterIPs": ["10.96.0.1", "fd00:96::1"],
                "ingress": [{"ip": "203.0.113.1"}, {"ip": "2001:db8::1"}],
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
            },
            [
                "spec.loadBalancerSourceRanges: no network in it is of 2001:db8::1's family, "
                "so everybody may connect to that"
            ],
            4,
        ),
        (
            {"ports": [HTTP, {"name": "b", "port": 70000}, {"name": "c", "port": -1}, {"name": "d", "port": 0}]},
            [
                f"spec.ports[{n}].port: {port} is no port: a number from 1 to 65535"
                for n, port in ((1, 70000), (2, -1), (3, 0))
            ],
            1,
        ),
        (
            {"type": "NodePort", "ports": [{**HTTP, "nodePort": 70000}]},
            ["spec.ports[0].nodePort: 70000 is no port: a number from 1 to 65535"],
            1,
        ),
        ({"ports": [HTTP, {**HTTP, "name": "b"}]}, ["spec.ports[1]: 80/TCP is that of spec.ports[0], which counts"], 1),
        (
            {"ports": [HTTP, {"port": 1, "protocol": "X\n"}]},
            ["spec.ports[1].protocol: 'X\\n' is none of SCTP, TCP, UDP"],
            1,
        ),
        (
            {"internalTrafficPolicy": "local", "externalTrafficPolicy": "Node"},
            [
                "spec.internalTrafficPolicy: 'local' must be Cluster or Local; it is Cluster",
                "spec.externalTrafficPolicy: 'Node' must be Cluster or Local; it is Cluster",
            ],
            1,
        ),
        ({"type": "Magic"}, ["spec.type: 'Magic' must be ClusterIP, NodePort or LoadBalancer; it is ClusterIP"], 1),
        ({"ipFamilies": ["IPv6"]}, ["spec.ipFamilies[0]: 'IPv6' is not the family of 10.96.0.1, which counts"], 1),
        ({"sessionAffinity": "Cookie"}, ["spec.sessionAffinity: 'Cookie' must be ClientIP or None; it is None"], 1),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_served(spec: dict[str, Any], expected: list[str], served: int) -> None:
    one = service(**spec)
    assert told(one) == expected
    found = frontends(one, slice_("10.0.0.1"))
    assert len([key for key in found if "other ports" not in key]) == served
    assert found["10.96.0.1:80/TCP"].cluster


def test_thousands_of_ports_have_the_backends_that_each_would_have_among_few() -> None:
    ports = [{"name": f"p{n}", "port": n} for n in range(1, 2001)]
    one, other = slice_("10.0.0.1", ports=ports), slice_("10.0.0.2", name="web-b", ports=[*ports[1000:], ports[1500]])
    found = frontends(service(ports=ports), one, other)
    assert [backend.port for backend in found["10.96.0.1:7/TCP"].cluster] == [7]
    assert [backend.address for backend in found["10.96.0.1:1501/TCP"].cluster] == ["10.0.0.1", "10.0.0.2"]
    few = frontends(service(ports=ports[1500:1501]), slice_("10.0.0.1", ports=ports[1500:1501]))
    assert few["10.96.0.1:1501/TCP"].cluster[0].port == 1501


@pytest.mark.parametrize("seconds, counts", [(0, 1), (-5, 1), (1 << 40, 86400), (5, 5)])
def test_an_affinity_that_cannot_be_counts_as_the_nearest(seconds: int, counts: int) -> None:
    one = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}})
    assert frontends(one, slice_("10.0.0.1"))["10.96.0.1:80/TCP"].affinity_seconds == counts
    assert bool(told(one)) is (seconds != counts)


def test_annotations_that_mean_nothing_are_told() -> None:
    one = service(
        {"fairway.dev/weights": "web=many", "fairway.dev/balancing": "x" * 100, "fairway.dev/proxy-protocol": "v9"}
    )
    first, second, third = told(one)
    assert first.startswith("metadata.annotations[fairway.dev/weights]: 'web=many' must be WHOM=WEIGHT")
    assert second == (
        f"metadata.annotations[fairway.dev/balancing]: '{'x' * 60}...' must be one of random, hash, round-robin, "
        "least-connections, and counts as none of them"
    )
    assert third == (
        "metadata.annotations[fairway.dev/proxy-protocol]: 'v9' must be v1 or v2; what it said before counts"
    )


def test_an_annotation_of_ours_that_nobody_knows_is_told_with_the_one_that_was_meant() -> None:
    one = service({"fairway.dev/wieghts": "web-*=2", "fairway.dev/colour": "red", "lab.fairway.dev/silent": "true"})
    assert told(one) == [
        "metadata.annotations[fairway.dev/colour]: means nothing to Fairway here",
        "metadata.annotations[fairway.dev/wieghts]: means nothing to Fairway here; did you mean fairway.dev/weights?",
    ]
    (problem,) = slice_problems(WEB, slice_("10.0.0.1", annotations={"fairway.dev/weights": "2"}))
    assert str(problem).endswith(
        "metadata.annotations[fairway.dev/weights]: means nothing to Fairway here; did you mean fairway.dev/weight?"
    )


def test_who_is_not_ours_has_no_problems() -> None:
    assert told(service(type="ExternalName", externalIPs=["nonsense"])) == []
    assert told(service(clusterIP="None", externalIPs=["nonsense"])) == []


def test_endpoints_that_cannot_be_are_told_and_the_others_serve() -> None:
    one = slice_(
        "10.0.0.1",
        "10.0.0.300",
        "fd00::1",
        "127.0.0.1",
        "010.0.0.2",
        ports=[{"name": "http", "port": 8080}, {"name": "b", "port": 99999}],
        annotations={"fairway.dev/weight": "-1"},
    )
    assert [
        str(problem).removeprefix("Service shop/web, EndpointSlice web-a: ") for problem in slice_problems(WEB, one)
    ] == [
        "ports[1].port: 99999 is no port: a number from 1 to 65535",
        "endpoints[1].addresses[0]: '10.0.0.300' is no IP address",
        "endpoints[2].addresses[0]: 'fd00::1' is no IPv4 address",
        "endpoints[3].addresses[0]: '127.0.0.1' is no address that others could reach",
        "endpoints[4].addresses[0]: '010.0.0.2' is read as 10.0.0.2",
        "metadata.annotations[fairway.dev/weight]: '-1' must be a weight from 0 to 100; it is 1",
    ]
    found = frontends(service(), one)["10.96.0.1:80/TCP"]
    assert [backend.address for backend in found.cluster] == ["10.0.0.1", "10.0.0.2"]


def test_many_of_a_kind_are_counted() -> None:
    found = slice_problems(WEB, slice_(*[f"bad-{number}" for number in range(1000)]))
    assert len(found) == 21
    assert found[-1].message == "and 980 more of the kind"


def test_slices_that_contradict_each_other_are_told() -> None:
    first = slice_({"addresses": ["10.0.0.1"], "nodeName": "node-1"}, "10.0.0.2", name="web-a")
    second = slice_({"addresses": ["10.0.0.1"], "nodeName": "node-2"}, "10.0.0.2", name="web-b")
    endpoints = Endpoints([first, second])
    resolve_endpoints(service(), endpoints, NODE)
    assert [str(one) for one in contradictions(WEB, endpoints)] == [
        "Service shop/web, EndpointSlice web-b: endpoints: 10.0.0.1:8080 is somebody on node-2 here and "
        "somebody on node-1 in web-a; this one counts"
    ]
    endpoints.put("web-a", None)
    resolve_endpoints(service(), endpoints, NODE)
    assert contradictions(WEB, endpoints) == ()


def test_an_address_that_a_new_pod_has_taken_over_is_no_contradiction() -> None:
    leaving = {"addresses": ["10.0.0.1"], "nodeName": "node-1", "conditions": {"ready": False, "terminating": True}}
    endpoints = Endpoints([slice_(leaving), slice_({"addresses": ["10.0.0.1"], "nodeName": "node-2"}, name="web-b")])
    resolve_endpoints(service(), endpoints, NODE)
    assert contradictions(WEB, endpoints) == ()


def test_a_huge_list_of_ports_costs_a_bounded_number_of_frontends() -> None:
    ports = [{"name": f"p{number}", "port": number} for number in range(1, 5001)]
    one = service(ports=ports, externalIPs=["198.51.100.1", "198.51.100.2"])
    assert len(frontends(one)) <= MOST_FRONTENDS + 1
    assert "addresses times ports" in told(one)[-1]


def test_addresses_that_take_no_traffic_are_not_read_again_for_each_port() -> None:
    ports = [{"name": f"p{number}", "port": number} for number in range(1, 21)]

    def listened(addresses: int) -> int:
        useless = service(ports=ports, externalIPs=[f"2001:db8::{number:x}" for number in range(addresses)])
        return steps(lambda: resolve_service(useless, (), NODE))

    assert listened(41) < 8 * listened(1)


def test_source_ranges_times_ports_are_bounded_and_nobody_is_let_in_by_the_rest() -> None:
    ports = [{"name": f"p{number}", "port": number} for number in range(1, 1001)]
    ranges = [f"10.0.{number}.0/24" for number in range(200)]
    one = service(type="LoadBalancer", ports=ports, loadBalancerSourceRanges=ranges, ingress=[{"ip": "203.0.113.1"}])
    allowed = [found.source_ranges for found in frontends(one).values() if found.source_ranges]
    assert sum(map(len, allowed)) == MOST_RANGES
    assert set(allowed) == {tuple(ranges[:100])}
    assert "only 100 of a family count" in told(one)[-1]


def test_ports_times_endpoints_are_bounded() -> None:
    ports = tuple(ServicePort(name=f"p{number}", port=number) for number in range(1, 9))
    one = service(ports=[{"name": port.name, "port": port.port} for port in ports])
    (problem,) = too_many(one, 100_000)
    assert problem.message == "8 ports with 100000 endpoints are more than 400000 backends: only 4 have any"
    assert too_many(one, MOST_BACKENDS // 8) == ()


@pytest.mark.parametrize(
    "address, special",
    [
        ("0.0.0.0", True),
        ("127.9.9.9", True),
        ("169.254.1.1", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("::", True),
        ("::1", True),
        ("fe80::1", True),
        ("ff02::1", True),
        ("10.0.0.1", False),
        ("169.25.4.1", False),
        ("22.4.0.1", False),
        ("220.4.0.1", False),
        ("100.64.0.1", False),
        ("fd00::1", False),
        ("2001:db8::", False),
        ("::2", False),
    ],
)
def test_special_addresses(address: str, special: bool) -> None:
    assert is_special(address) is special
