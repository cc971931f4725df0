"""NetworkPolicies: every rule with its field and its words."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import network_policy
from fairway.objects.codec import Document


def policy(**spec: Any) -> Document:
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"podSelector": {}, **spec}}


def with_port(**port: Any) -> Document:
    return policy(ingress=[{"ports": [port]}])


def with_peer(**peer: Any) -> Document:
    return policy(egress=[{"to": [peer]}])


BLOCK = "spec.egress[0].to[0].ipBlock"
PORT = "spec.ingress[0].ports[0]"
WRONG: list[tuple[Document, str]] = [
    (policy(podSelector={"matchLabels": {"a b": "c"}}), 'spec.podSelector.matchLabels: Invalid value: "a b": name'),
    (policy(policyTypes=["Ingress"] * 3), "spec.policyTypes: Invalid value: "),
    (
        policy(policyTypes=["Sideways"]),
        'spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Egress"',
    ),
    (with_port(protocol="ICMP"), f'{PORT}.protocol: Unsupported value: "ICMP"'),
    (with_port(port=0), f"{PORT}.port: Invalid value: 0: must be between 1 and 65535"),
    (with_port(port="-"), f'{PORT}.port: Invalid value: "-": must contain at least one letter'),
    (with_port(endPort=9), f"{PORT}.endPort: Invalid value: 9: may not be specified when `port` is not specified"),
    (with_port(port="http", endPort=9), f"{PORT}.endPort: Invalid value: 9: may not be specified when `port` is non-"),
    (with_port(port=9, endPort=8), f"{PORT}.endPort: Invalid value: 9: must be greater than or equal to `port`"),
    (with_port(port=9, endPort=70000), f"{PORT}.endPort: Invalid value: 70000: must be between 1 and 65535"),
    (with_peer(), "spec.egress[0].to[0]: Required value: must specify a peer"),
    (with_peer(ipBlock={}), f"{BLOCK}.cidr: Required value"),
    (with_peer(ipBlock={"cidr": "x"}), f'{BLOCK}.cidr: Invalid value: "x": must be a valid CIDR value'),
    (
        with_peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}),
        "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
    ),
    (
        with_peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}),
        f'{BLOCK}.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
    ),
    (with_peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["x"]}), f'{BLOCK}.except[0]: Invalid value: "x": must be a'),
]


@pytest.mark.parametrize("document, words", WRONG, ids=range(len(WRONG)))
def test_a_wrong_policy_is_told_which_field(document: Document, words: str) -> None:
    errors = [str(error) for error in network_policy.validate(document)]
    assert errors
    assert errors[0].startswith(words)


def test_a_policy_with_everything_is_valid() -> None:
    rule = {"ports": [{"port": 80, "endPort": 90, "protocol": "UDP"}, {"port": "http"}, {}]}
    peers = [{"podSelector": {}, "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]
    block = {"ipBlock": {"cidr": "fd00::/8", "except": ["fd00::/64"]}}
    whole = policy(ingress=[{**rule, "from": peers}], egress=[{"to": [block]}], policyTypes=["Ingress", "Egress"])
    assert network_policy.validate(whole) == []
