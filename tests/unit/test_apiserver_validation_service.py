"""Every rule of a Service, with the field it names, the kind of error, and Kubernetes' words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fairway.apiserver import defaults
from fairway.apiserver.validation import service as rules
from fairway.objects.codec import Document

PORT = {"name": "http", "port": 80}


def service(metadata: Document | None = None, **spec: Any) -> Document:
    """A valid Service as the allocator leaves it, with some fields of its spec changed; None takes one away."""
    whole: Document = {"ports": [dict(PORT)], "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]}
    whole |= {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"} | spec
    given = {field: copy.deepcopy(value) for field, value in whole.items() if value is not None}
    meta = {"name": "web", "namespace": "shop"} | (metadata or {})
    return defaults.service({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": given})


def external_name(**spec: Any) -> Document:
    without = dict.fromkeys(("ports", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"))
    return service(**{**without, "type": "ExternalName", "externalName": "db.example.com", **spec})


def undefaulted(field: str, **spec: Any) -> Document:
    """A Service that lost a field after the defaults were filled in."""
    found = service(**spec)
    del found["spec"][field]
    return found


def port(**changes: Any) -> list[Document]:
    return [PORT | changes]


def dual(**spec: Any) -> Document:
    both = {
        "clusterIPs": ["10.96.0.7", "fd00::7"],
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack",
    }
    return service(**{**both, **spec})


def without_protocol() -> Document:
    found = service()
    del found["spec"]["ports"][0]["protocol"]
    return found


def undefaulted_affinity() -> Document:
    """What only an object that never met the defaults can say."""
    found = service()
    found["spec"]["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 60}}
    return found


VALID = {
    "the smallest": service(),
    "without selector": service(selector=None),
    "headless without ports": service(clusterIP="None", clusterIPs=["None"], ports=None),
    "external name with a trailing dot": external_name(externalName="db.example.com."),
    "one node port for two protocols": service(
        type="NodePort",
        ports=[
            {"name": "a", "port": 53, "protocol": "TCP", "nodePort": 30053},
            {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053},
        ],
    ),
    "load balancer, Local": service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30001),
    "source ranges with spaces": service(type="LoadBalancer", loadBalancerSourceRanges=[" 10.0.0.0/8 "]),
    "affinity for a day": service(
        sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86400}}
    ),
    "dual stack": dual(),
    "named target port": service(ports=port(targetPort="http-web")),
    "app protocol with a domain": service(ports=port(appProtocol="kubernetes.io/h2c")),
    "a name that starts with a digit": service({"name": "3scale"}),
}


@pytest.mark.parametrize("document", VALID.values(), ids=VALID.keys())
def test_a_valid_service_has_no_errors(document: Document) -> None:
    assert [str(error) for error in rules.validate(document)] == []


ONLY_LB = "Forbidden: may only be used when `type` is 'LoadBalancer'"
PROTOCOL = 'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'
ANNOTATED = "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]"
TOPOLOGY = "service.kubernetes.io/topology-"

# what is wrong, the document, the field, the beginning of the message
WRONG: list[tuple[str, Document, str, str]] = [
    ("no ports", service(ports=None), "spec.ports", "Required value"),
    ("no protocol", without_protocol(), "spec.ports[0].protocol", "Required value"),
    (
        "configuration without affinity",
        undefaulted_affinity(),
        "spec.sessionAffinityConfig",
        "Forbidden: must not be set when session affinity is None",
    ),
    (
        "balancing",
        service({"annotations": {"fairway.dev/balancing": "luck"}}),
        "metadata.annotations[fairway.dev/balancing]",
        'Unsupported value: "luck": supported values: "random", ',
    ),
    (
        "port 0",
        service(ports=port(port=0)),
        "spec.ports[0].port",
        "Invalid value: 0: must be between 1 and 65535, incl",
    ),
    ("port 65536", service(ports=port(port=65536)), "spec.ports[0].port", "Invalid value: 65536: must be between"),
    ("no name of two", service(ports=[{"port": 1}, {"port": 2, "name": "b"}]), "spec.ports[0].name", "Required value"),
    (
        "port name",
        service(ports=port(name="Http")),
        "spec.ports[0].name",
        'Invalid value: "Http": a lowercase RFC 1123',
    ),
    ("same name", service(ports=[*port(), *port(port=81)]), "spec.ports[1].name", 'Duplicate value: "http"'),
    ("protocol", service(ports=port(protocol="ICMP")), "spec.ports[0].protocol", PROTOCOL),
    ("target port", service(ports=port(targetPort=70000)), "spec.ports[0].targetPort", "Invalid value: 70000: must be"),
    (
        "target port name",
        service(ports=port(targetPort="a-name-too-long-for-iana")),
        "spec.ports[0].targetPort",
        'Invalid value: "a-name-too-long-for-iana": must be no more than 15 bytes',
    ),
    (
        "app protocol",
        service(ports=port(appProtocol="a b")),
        "spec.ports[0].appProtocol",
        'Invalid value: "a b": name pa',
    ),
    (
        "same port twice",
        service(ports=[*port(), *port(name="b")]),
        "spec.ports[1]",
        'Duplicate value: {"port":80,"protocol":"TCP"}',
    ),
    (
        "same node port twice",
        service(type="NodePort", ports=[*port(nodePort=30001), *port(name="b", port=81, nodePort=30001)]),
        "spec.ports[1].nodePort",
        "Duplicate value: 30001",
    ),
    (
        "node port of ClusterIP",
        service(ports=port(nodePort=30001)),
        "spec.ports[0].nodePort",
        "Forbidden: may not be used when `type` is 'ClusterIP'",
    ),
    (
        "type",
        service(type="Cluster"),
        "spec.type",
        'Unsupported value: "Cluster": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
    ),
    (
        "headless NodePort",
        service(type="NodePort", clusterIP="None", clusterIPs=["None"]),
        "spec.clusterIPs[0]",
        "Invalid value: \"None\": may not be set to 'None' for NodePort services",
    ),
    (
        "headless LoadBalancer",
        service(type="LoadBalancer", clusterIP="None", clusterIPs=["None"]),
        "spec.clusterIPs[0]",
        "Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
    ),
    (
        "kubelet's port",
        service(type="LoadBalancer", ports=port(port=10250)),
        "spec.ports[0]",
        "Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
    ),
    ("external name missing", external_name(externalName=None), "spec.externalName", "Required value"),
    (
        "external name",
        external_name(externalName="-a"),
        "spec.externalName",
        'Invalid value: "-a": a lowercase RFC 1123 s',
    ),
    (
        "external name with an address",
        external_name(clusterIPs=["10.96.0.7"], clusterIP="10.96.0.7"),
        "spec.clusterIPs",
        "Forbidden: may not be set for ExternalName services",
    ),
    (
        "external name with families",
        external_name(ipFamilies=["IPv4"]),
        "spec.ipFamilies",
        "Forbidden: may not be set for ExternalName services",
    ),
    (
        "external name with a policy",
        external_name(ipFamilyPolicy="SingleStack"),
        "spec.ipFamilyPolicy",
        "Forbidden: may not be set for ExternalName services",
    ),
    ("selector", service(selector={"app": "a b"}), "spec.selector[app]", 'Invalid value: "a b": a valid label must be'),
    (
        "affinity",
        service(sessionAffinity="Cookie"),
        "spec.sessionAffinity",
        'Unsupported value: "Cookie": supported values: "ClientIP", "None"',
    ),
    (
        "affinity timeout",
        service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "Invalid value: 86401: must be greater than 0 and less than 86400",
    ),
    (
        "affinity without its configuration",
        undefaulted("sessionAffinityConfig", sessionAffinity="ClientIP"),
        "spec.sessionAffinityConfig",
        "Required value: when session affinity type is ClientIP",
    ),
    ("address lists apart", service(clusterIPs=None), "spec.clusterIPs", "Required value"),
    (
        "only the plural",
        service(clusterIP=None),
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.7"]: must be empty when `clusterIP` is not specified',
    ),
    (
        "lists that differ",
        service(clusterIP="10.96.0.8"),
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.7"]: first value must match `clusterIP`',
    ),
    (
        "leading zeros",
        service(clusterIP="10.96.0.07", clusterIPs=["10.96.0.07"]),
        "spec.clusterIPs[0]",
        'Invalid value: "10.96.0.07": must not have leading 0s',
    ),
    (
        "no address",
        service(clusterIP="10.96.0.300", clusterIPs=["10.96.0.300"]),
        "spec.clusterIPs[0]",
        'Invalid value: "10.96.0.300": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ),
    (
        "IPv4 inside IPv6",
        service(clusterIP="::ffff:10.96.0.7", clusterIPs=["::ffff:10.96.0.7"], ipFamilies=["IPv6"]),
        "spec.clusterIPs[0]",
        'Invalid value: "::ffff:10.96.0.7": must not be an IPv4-mapped IPv6 address',
    ),
    (
        "three addresses",
        dual(clusterIPs=["10.96.0.7", "fd00::7", "fd00::8"]),
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.7","fd00::7","fd00::8"]: may only hold up to 2 values',
    ),
    (
        "None and another",
        service(clusterIP="None", clusterIPs=["None", "10.96.0.7"]),
        "spec.clusterIPs",
        'Invalid value: ["None","10.96.0.7"]: \'None\' must be the first and only value',
    ),
    (
        "two of one family",
        dual(clusterIPs=["10.96.0.7", "10.96.0.8"]),
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.7","10.96.0.8"]: may specify no more than one IP for each IP family',
    ),
    (
        "family of another address",
        service(ipFamilies=["IPv6"]),
        "spec.clusterIPs[0]",
        'Invalid value: "10.96.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`',
    ),
    (
        "unknown family",
        service(ipFamilies=["IPv5"]),
        "spec.ipFamilies[0]",
        'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"',
    ),
    ("family twice", dual(ipFamilies=["IPv4", "IPv4"]), "spec.ipFamilies[1]", 'Duplicate value: "IPv4"'),
    (
        "family policy",
        service(ipFamilyPolicy="Dual"),
        "spec.ipFamilyPolicy",
        'Unsupported value: "Dual": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
    ),
    (
        "external address",
        service(externalIPs=["x"]),
        "spec.externalIPs[0]",
        'Invalid value: "x": must be a valid IP add',
    ),
    (
        "external address: this host",
        service(externalIPs=["127.0.0.1"]),
        "spec.externalIPs[0]",
        'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ),
    (
        "external address: none",
        service(externalIPs=["0.0.0.0"]),
        "spec.externalIPs[0]",
        'Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
    ),
    (
        "external address: link",
        service(externalIPs=["fe80::1"]),
        "spec.externalIPs[0]",
        'Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
    ),
    (
        "external address: multicast",
        service(externalIPs=["224.0.0.1"]),
        "spec.externalIPs[0]",
        'Invalid value: "224.0.0.1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)',
    ),
    (
        "source ranges without load balancer",
        service(loadBalancerSourceRanges=["10.0.0.0/8"]),
        "spec.LoadBalancerSourceRanges",
        ONLY_LB,
    ),
    (
        "source range with host bits",
        service(type="LoadBalancer", loadBalancerSourceRanges=["10.0.0.1/8"]),
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length',
    ),
    (
        "source range that is an address",
        service(type="LoadBalancer", loadBalancerSourceRanges=["10.0.0.1"]),
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "10.0.0.1": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
    ),
    (
        "annotated source range",
        service({"annotations": {rules.SOURCE_RANGES: "10.0.0.0/8, nonsense"}}, type="LoadBalancer"),
        ANNOTATED,
        'Invalid value: "nonsense": must be a valid CIDR value',
    ),
    (
        "annotated source range without load balancer",
        service({"annotations": {rules.SOURCE_RANGES: "10.0.0.0/8"}}),
        ANNOTATED,
        ONLY_LB,
    ),
    (
        "allocateLoadBalancerNodePorts",
        service(allocateLoadBalancerNodePorts=False),
        "spec.allocateLoadBalancerNodePorts",
        ONLY_LB,
    ),
    (
        "allocateLoadBalancerNodePorts missing",
        undefaulted("allocateLoadBalancerNodePorts", type="LoadBalancer"),
        "allocateLoadBalancerNodePorts",
        "Required value",
    ),
    ("load-balancer class", service(loadBalancerClass="a"), "spec.loadBalancerClass", ONLY_LB),
    (
        "name of a load-balancer class",
        service(type="LoadBalancer", loadBalancerClass="a/b/c"),
        "spec.loadBalancerClass",
        'Invalid value: "a/b/c": a qualified name must consist of',
    ),
    (
        "external policy inside",
        service(externalTrafficPolicy="Local"),
        "spec.externalTrafficPolicy",
        'Invalid value: "Local": may only be set for externally-accessible services',
    ),
    (
        "external policy",
        service(type="NodePort", externalTrafficPolicy="Near"),
        "spec.externalTrafficPolicy",
        'Unsupported value: "Near": supported values: "Cluster", "Local"',
    ),
    (
        "health check without Local",
        service(type="LoadBalancer", healthCheckNodePort=30001),
        "spec.healthCheckNodePort",
        "Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    ),
    (
        "health check missing",
        service(type="LoadBalancer", externalTrafficPolicy="Local"),
        "spec.healthCheckNodePort",
        "Required value",
    ),
    (
        "internal policy",
        service(internalTrafficPolicy="Near"),
        "spec.internalTrafficPolicy",
        'Unsupported value: "Near": supported values: "Cluster", "Local"',
    ),
    ("internal policy missing", undefaulted("internalTrafficPolicy"), "spec.internalTrafficPolicy", "Required value"),
    (
        "distribution",
        service(trafficDistribution="Near"),
        "spec.trafficDistribution",
        'Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"',
    ),
    (
        "weights",
        service({"annotations": {"fairway.dev/weights": "web=2, api=lots"}}),
        "metadata.annotations[fairway.dev/weights]",
        "Invalid value: \"web=2, api=lots\": 'api=lots' must be WHOM=WEIGHT, such as web-v2-*=1: a pod's name (one * "
        "for any letters), an address, a network or node/NAME, and a weight from 0 to 100",
    ),
    (
        "stale connections",
        service({"annotations": {"fairway.dev/stale-connections": "slice"}}),
        "metadata.annotations[fairway.dev/stale-connections]",
        'Unsupported value: "slice": supported values: "keep", "cut"',
    ),
    (
        "two topologies",
        service({"annotations": {TOPOLOGY + "mode": "Auto", TOPOLOGY + "aware-hints": "disabled"}}),
        f"metadata.annotations[{TOPOLOGY}mode]",
        f'Invalid value: "Auto": must match annotations[{TOPOLOGY}aware-hints] when both are specified',
    ),
    (
        "name",
        service({"name": "Web"}),
        "metadata.name",
        'Invalid value: "Web": a lowercase RFC 1123 label must consist of',
    ),
]


@pytest.mark.parametrize("document, path, words", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
@pytest.mark.reference(
    "5.2 rule 1",
    cases=(
        "name",
        "two topologies",
    ),
)
@pytest.mark.reference("5.2 rule 2", cases=("no ports",))
@pytest.mark.reference(
    "5.2 rule 3",
    cases=(
        "port 0",
        "port 65536",
        "no name of two",
        "port name",
        "same name",
        "protocol",
        "target port",
        "target port name",
        "app protocol",
    ),
)
@pytest.mark.reference(
    "5.2 rule 4",
    cases=(
        "same port twice",
        "same node port twice",
    ),
)
@pytest.mark.reference("5.2 rule 5", cases=("node port of ClusterIP",))
@pytest.mark.reference(
    "5.2 rule 6",
    cases=(
        "type",
        "headless NodePort",
        "headless LoadBalancer",
    ),
)
@pytest.mark.reference(
    "5.2 rule 7",
    cases=(
        "external name missing",
        "external name",
        "external name with an address",
        "external name with families",
        "external name with a policy",
    ),
)
@pytest.mark.reference("5.2 rule 8", cases=("selector",))
@pytest.mark.reference(
    "5.2 rule 9",
    cases=(
        "affinity",
        "affinity timeout",
        "affinity without its configuration",
    ),
)
@pytest.mark.reference(
    "5.2 rule 10",
    cases=(
        "address lists apart",
        "only the plural",
        "lists that differ",
        "leading zeros",
        "no address",
        "IPv4 inside IPv6",
        "three addresses",
        "None and another",
        "two of one family",
    ),
)
@pytest.mark.reference(
    "5.2 rule 11",
    cases=(
        "family of another address",
        "unknown family",
        "family twice",
        "family policy",
    ),
)
@pytest.mark.reference(
    "5.2 rule 12",
    cases=(
        "external address",
        "external address: this host",
        "external address: none",
        "external address: link",
        "external address: multicast",
    ),
)
@pytest.mark.reference(
    "5.2 rule 13",
    cases=(
        "source ranges without load balancer",
        "source range with host bits",
        "source range that is an address",
        "annotated source range",
        "annotated source range without load balancer",
    ),
)
@pytest.mark.reference(
    "5.2 rule 14",
    cases=(
        "allocateLoadBalancerNodePorts",
        "allocateLoadBalancerNodePorts missing",
        "name of a load-balancer class",
    ),
)
@pytest.mark.reference(
    "5.2 rule 15",
    cases=(
        "external policy inside",
        "external policy",
    ),
)
@pytest.mark.reference(
    "5.2 rule 16",
    cases=(
        "health check without Local",
        "health check missing",
    ),
)
@pytest.mark.reference("5.2 rule 17", cases=("internal policy",))
@pytest.mark.reference("5.2 rule 18", cases=("distribution",))
def test_a_wrong_service_is_told_what_is_wrong_with_which_field(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in rules.validate(document)}
    assert errors.get(path, "").startswith(words), errors


CHANGES: list[tuple[str, Document, Document, str, str]] = [
    (
        "primary address",
        service(),
        service(clusterIP="10.96.0.8", clusterIPs=["10.96.0.8"]),
        "spec.clusterIPs[0]",
        'Invalid value: ["10.96.0.8"]: may not change once set',
    ),
    (
        "to headless",
        service(),
        service(clusterIP="None", clusterIPs=["None"]),
        "spec.clusterIPs[0]",
        'Invalid value: ["None"]: may not change once set',
    ),
    (
        "address taken away",
        service(),
        service(clusterIP=None, clusterIPs=None),
        "spec.clusterIPs[0]",
        "Invalid value: []: primary clusterIP can not be unset",
    ),
    (
        "second address without SingleStack",
        dual(),
        dual(clusterIPs=["10.96.0.7"]),
        "spec.clusterIPs[0]",
        "Invalid value: [\"10.96.0.7\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the",
    ),
    (
        "primary family",
        service(),
        service(ipFamilies=["IPv6"]),
        "spec.ipFamilies[0]",
        'Invalid value: ["IPv6"]: may not change once set',
    ),
    (
        "second family without SingleStack",
        dual(),
        dual(ipFamilies=["IPv4"]),
        "spec.ipFamilies[0]",
        "Invalid value: [\"IPv4\"]: `ipFamilyPolicy` must be set to 'SingleStack' when releasing the",
    ),
    (
        "load-balancer class",
        service(type="LoadBalancer", loadBalancerClass="a"),
        service(type="LoadBalancer", loadBalancerClass="b"),
        "spec.loadBalancerClass",
        'Invalid value: "b": may not change once set',
    ),
    (
        "health-check port",
        service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30001),
        service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30002),
        "spec.healthCheckNodePort",
        "Forbidden: field is immutable",
    ),
]


@pytest.mark.parametrize("old, new, path, words", [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
@pytest.mark.reference(
    "5.2 rule 19",
    cases=(
        "primary address",
        "to headless",
        "address taken away",
        "second address without SingleStack",
    ),
)
@pytest.mark.reference(
    "5.2 rule 20",
    cases=(
        "primary family",
        "second family without SingleStack",
    ),
)
@pytest.mark.reference(
    "5.2 rule 21",
    cases=(
        "load-balancer class",
        "health-check port",
    ),
)
def test_what_may_not_change_is_refused(old: Document, new: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in rules.validate_update(new, old)}
    assert errors.get(path, "").startswith(words), errors


ALLOWED = {
    "to ExternalName": (service(), external_name()),
    "from ExternalName": (external_name(), service()),
    "a second address": (service(), dual()),
    "back to one": (dual(), service()),
    "headless keeps its freedom": (
        service(clusterIP="None", clusterIPs=["None"], ipFamilies=["IPv4"]),
        service(clusterIP="None", clusterIPs=["None"], ipFamilies=["IPv6"]),
    ),
    "a class when it becomes a load balancer": (service(), service(type="LoadBalancer", loadBalancerClass="a")),
}


@pytest.mark.parametrize("old, new", ALLOWED.values(), ids=ALLOWED.keys())
@pytest.mark.reference(
    "5.2 rule 19",
    cases=(
        "to ExternalName",
        "from ExternalName",
        "a second address",
        "back to one",
        "headless keeps its freedom",
    ),
)
@pytest.mark.reference("5.2 rule 21", cases=("a class when it becomes a load balancer",))
def test_other_changes_are_allowed(old: Document, new: Document) -> None:
    assert rules.validate_update(new, old) == []


def with_ingress(entry: Document, type_: str = "LoadBalancer") -> Document:
    return service(type=type_) | {"status": {"loadBalancer": {"ingress": [entry]}}}


INGRESS = "status.loadBalancer.ingress"
STATUSES: list[tuple[str, Document, str, str]] = [
    (
        "not a load balancer",
        with_ingress({"ip": "192.0.2.1", "ipMode": "VIP"}, "ClusterIP"),
        INGRESS,
        "Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
    ),
    (
        "no address",
        with_ingress({"ip": "x", "ipMode": "VIP"}),
        f"{INGRESS}[0].ip",
        'Invalid value: "x": must be a valid I',
    ),
    (
        "no mode",
        with_ingress({"ip": "192.0.2.1"}),
        f"{INGRESS}[0].ipMode",
        "Required value: must be specified when `ip`",
    ),
    (
        "mode alone",
        with_ingress({"hostname": "a.example", "ipMode": "VIP"}),
        f"{INGRESS}[0].ipMode",
        "Forbidden: may not be specified when `ip` is not set",
    ),
    (
        "mode",
        with_ingress({"ip": "192.0.2.1", "ipMode": "Vip"}),
        f"{INGRESS}[0].ipMode",
        'Unsupported value: "Vip": supported values: "Proxy", "VIP"',
    ),
    ("hostname", with_ingress({"hostname": "A_b"}), f"{INGRESS}[0].hostname", 'Invalid value: "A_b": a lowercase RFC'),
    (
        "hostname that is an address",
        with_ingress({"hostname": "192.0.2.1"}),
        f"{INGRESS}[0].hostname",
        'Invalid value: "192.0.2.1": must be a DNS name, not an IP address',
    ),
]


@pytest.mark.parametrize("document, path, words", [row[1:] for row in STATUSES], ids=[row[0] for row in STATUSES])
@pytest.mark.reference("5.2 rule 23")
def test_a_wrong_status_is_refused(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in rules.validate_status(document, service(type="LoadBalancer"))}
    assert errors.get(path, "").startswith(words), errors


@pytest.mark.reference("5.2 rule 23")
def test_an_address_that_was_there_is_tolerated_in_the_status() -> None:
    old = with_ingress({"ip": "192.0.2.01", "ipMode": "VIP"})
    assert rules.validate_status(copy.deepcopy(old), old) == []
