"""What a frontend becomes in iptables: in trees what the model says, in the flat form what kube-proxy writes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairway.model.resolve import resolve
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.iptables import IptablesMode, Options
from fairway.modes.xtables import Place
from fairway.objects.codec import read_yaml, view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

SETTINGS = NodeSettings(
    name="node-1",
    addresses=("127.0.0.1", "192.168.0.2"),
    pod_networks=("10.244.0.0/16", "10.245.0.0/16"),
    service_networks=("10.96.0.0/16",),
)
BALANCED = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.50
  clusterIPs: [10.96.0.50]
  ipFamilies: [IPv4]
  externalTrafficPolicy: Local
  healthCheckNodePort: 31234
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}
  loadBalancerSourceRanges: [198.51.100.0/24, 192.168.0.0/24]
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.244.1.7], nodeName: node-1, conditions: {ready: true}}
- {addresses: [10.244.2.9], nodeName: node-2, conditions: {ready: true}}
"""
H, A, B = "67NZLRHBNDSAWJRO", "KUBE-SEP-UGQTAJUJOQJVZIEC", "KUBE-SEP-EMUAPVFCFHRD2FOR"


def balanced(settings: NodeSettings = SETTINGS) -> NodeView:
    [service], [endpoints] = read_yaml(BALANCED), read_yaml(SLICE)
    one = view(service, Service)
    return resolve([one], {one.key: [view(endpoints, EndpointSlice)]}, settings)


def chains(options: Options, seen: NodeView) -> dict[Place, tuple[str, ...]]:
    return IptablesMode(options).program(seen).state()["ip"]


def targets(rules: tuple[str, ...]) -> list[str]:
    return [f" {rule}".partition(" -j ")[2].partition(" ")[0] for rule in rules]


def test_the_chains_of_the_references_example() -> None:
    """The example of section 4.2, whose names and order are the real kube-proxy's."""
    found = chains(Options(flat=True), balanced())
    assert targets(found[Place("nat", f"KUBE-EXT-{H}")]) == [
        f"KUBE-SVC-{H}",
        "KUBE-MARK-MASQ",
        f"KUBE-SVC-{H}",
        f"KUBE-SVL-{H}",
    ]
    assert targets(found[Place("nat", f"KUBE-SVC-{H}")]) == ["KUBE-MARK-MASQ", A, B, A, B]
    assert targets(found[Place("nat", f"KUBE-SVL-{H}")]) == [A, A]
    assert targets(found[Place("nat", f"KUBE-FW-{H}")]) == [f"KUBE-EXT-{H}"] * 3 + [""]
    assert targets(found[Place("nat", B)]) == ["KUBE-MARK-MASQ", "DNAT"]
    assert targets(found[Place("filter", "KUBE-PROXY-FIREWALL")]) == ["DROP"]


def test_in_trees_only_backends_that_may_be_here_have_a_rule_for_themselves() -> None:
    found = chains(Options(), balanced())
    assert targets(found[Place("nat", A)]) == ["KUBE-MARK-MASQ", "DNAT"]
    assert targets(found[Place("nat", B)]) == ["DNAT"]


def test_in_trees_every_network_of_pods_counts_and_the_node_comes_first() -> None:
    found = chains(Options(), balanced())
    assert [rule.split(" -")[0] for rule in found[Place("nat", "KUBE-MARK-NOT-PODS")]] == [
        "-m addrtype",
        "-s 10.244.0.0/16",
        "-s 10.245.0.0/16",
        "-j KUBE-MARK-MASQ",
    ]


@pytest.mark.reference("7.2 TestHealthCheckNodePort")
@pytest.mark.parametrize("flat", [True, False])
def test_health_checks_are_accepted_while_there_is_a_port_for_them(flat: bool) -> None:
    place = Place("filter", "KUBE-NODEPORTS")
    accept = ('-p tcp -m comment --comment "shop/web:http health check node port" -m tcp --dport 31234 -j ACCEPT',)
    assert chains(Options(flat=flat), balanced())[place] == accept
    assert chains(Options(flat=flat), NodeView(settings=SETTINGS, frontends={}))[place] == ()


@pytest.mark.reference("7.2 TestDropInvalidRule")
@pytest.mark.reference("7.5 Conntrack: not vulnerable to the invalid conntrack state bug")
@pytest.mark.parametrize("flat", [True, False])
def test_invalid_packets_are_dropped_unless_tracking_is_liberal(flat: bool) -> None:
    empty = NodeView(settings=SETTINGS, frontends={})
    first = chains(Options(flat=flat), empty)[Place("filter", "KUBE-FORWARD")][0]
    assert first == "-m conntrack --ctstate INVALID -j DROP"
    counted = chains(Options(flat=flat, count=True), empty)[Place("filter", "KUBE-FORWARD")][0]
    assert "--nfacct-name ct_state_invalid_dropped_pkts" in counted
    liberal = chains(Options(flat=flat, drop_invalid=False), empty)[Place("filter", "KUBE-FORWARD")]
    assert [rule for rule in liberal if "INVALID" in rule] == []


@pytest.mark.reference("7.5 KubeProxy: localhost nodeports accepted-packets metric")
@pytest.mark.parametrize("flat", [True, False])
def test_packets_to_node_ports_at_the_loopback_address_are_counted(flat: bool) -> None:
    seen = balanced(replace(SETTINGS, node_port_addresses=None, localhost_node_ports=True))
    for count, expected in ((True, 1), (False, 0)):
        rules = [rule for some in chains(Options(flat=flat, count=count), seen).values() for rule in some]
        counting = [rule for rule in rules if "--nfacct-name localhost_nps_accepted_pkts" in rule]
        assert len(counting) == expected
        assert all(rule.startswith("-d 127.0.0.0/8 ") for rule in counting)


@pytest.mark.parametrize("bit, mark", [(14, "0x4000"), (0, "0x1"), (31, "0x80000000")])
def test_the_mark_is_the_bit_that_was_asked_for(bit: int, mark: str) -> None:
    found = chains(Options(masquerade_bit=bit), balanced())
    assert found[Place("nat", "KUBE-MARK-MASQ")] == (f"-j MARK --set-xmark {mark}/{mark}",)
    assert found[Place("nat", "KUBE-POSTROUTING")][0] == f"-m mark ! --mark {mark}/{mark} -j RETURN"


def test_a_family_that_the_machine_has_not_is_left_out() -> None:
    program = IptablesMode(Options(families=("ip6",))).program(balanced())
    assert list(program.state()) == ["ip6"]
    assert Place("nat", f"KUBE-SVC-{H}") not in program.state()["ip6"]


def test_weights_are_probabilities() -> None:
    backends = (
        Backend(address="10.244.1.2", port=80, weight=3),
        Backend(address="10.244.1.3", port=80, weight=1),
        Backend(address="10.244.1.4", port=80, weight=4),
    )
    one = _frontend(cluster=backends)
    program = IptablesMode().program(NodeView(settings=SETTINGS, frontends={one.key: one}))
    chain = next(rules for place, rules in program.state()["ip"].items() if place.chain.startswith("KUBE-SVC-"))
    drawn = [rule.partition("--probability ")[2].partition(" ")[0] for rule in chain]
    assert drawn == ["0.37500000000", "0.20000000019", ""]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, []),
        ({"balancing": "hash"}, ["needs the nftables mode"]),
        ({"balancing": "best"}, ["must be random, not 'best'"]),
        ({"scheduler": "wlc"}, ["only the ipvs mode has schedulers"]),
    ],
)
def test_what_this_mode_does_not_do_is_said(changes: dict[str, str], words: list[str]) -> None:
    found = IptablesMode().unsupported(_frontend(**changes))
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


def _frontend(**changes: object) -> Frontend:
    forward = Action(kind=ActionKind.FORWARD)
    fields: dict[str, object] = {
        "kind": FrontendKind.CLUSTER_IP,
        "address": "10.96.0.7",
        "protocol": "TCP",
        "port": 80,
        "service": Key("shop", "web"),
        "pod": forward,
        "node": forward,
        "outside": forward,
    }
    return Frontend(**{**fields, **changes})  # type: ignore[arg-type]
