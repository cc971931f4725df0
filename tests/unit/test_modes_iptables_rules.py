"""Names as kube-proxy makes them, and rules in the words of `iptables-save`, whatever the names in them are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key
from fairway.modes.iptables.names import endpoint_chain, is_ours, service_hash
from fairway.modes.iptables.rules import COMMENT_BYTES, comment, parse, probability
from fairway.modes.xtables import split

_FORWARD = Action(kind=ActionKind.FORWARD)


def frontend(service: str, port: str = "", address: str = "10.96.0.1") -> Frontend:
    namespace, name = service.split("/")
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=address,
        protocol="TCP",
        port=80,
        service=Key(namespace, name),
        port_name=port,
        pod=_FORWARD,
        node=_FORWARD,
        outside=_FORWARD,
    )


@pytest.mark.reference("7.2 Test_servicePortChainNameBase, Test_servicePortEndpointChainNameBase")
def test_hashes_are_those_of_the_reference() -> None:
    one = frontend("ns1/svc1", "p80")
    assert service_hash(one) == "XPGD46QRK7WJZT7O"
    assert service_hash(frontend("ns5/svc5", "p80")) == "NUKIZ6OKUXPJNT4C"
    assert endpoint_chain(one, Backend(address="10.180.0.1", port=80)) == "KUBE-SEP-SXIVWICOYRO3J4NJ"


@pytest.mark.parametrize(
    "chain, ours",
    [
        ("KUBE-SERVICES", True),
        ("KUBE-SVC-XPGD46QRK7WJZT7O", True),
        ("KUBE-IP-10.96.0.0/20", True),
        ("KUBE-KUBELET-CANARY", False),
        ("KUBE-ROUTER-INPUT", False),
        ("DOCKER", False),
        ("INPUT", False),
    ],
)
def test_whose_a_chain_is(chain: str, ours: bool) -> None:
    assert is_ours(chain) is ours


@pytest.mark.reference("7.2 TestComputeProbability")
@pytest.mark.parametrize(
    "weight, rest, text",
    [
        (1, 2, "0.50000000000"),
        (1, 3, "0.33333333349"),
        (1, 7, "0.14285714272"),
        (3, 4, "0.75000000000"),
    ],
)
def test_probabilities_are_printed_as_the_kernel_keeps_them(weight: int, rest: int, text: str) -> None:
    assert probability(weight, rest) == text


@given(st.text(max_size=400))
def test_a_comment_is_one_word_of_one_line_whatever_is_in_it(text: str) -> None:
    made = comment(text)
    assert split(made)[:3] == ["-m", "comment", "--comment"]
    assert len(split(made)) == 4
    assert made.isascii()
    assert made.isprintable()
    assert made.count('"') == 2
    assert len(split(made)[3]) <= COMMENT_BYTES
    assert parse(f"{made} -j DROP").target == "DROP"


def test_what_would_end_a_comment_is_left_out() -> None:
    assert comment('shop/x" -j ACCEPT\n-A INPUT -j DROP $(id)') == (
        '-m comment --comment "shop/x -j ACCEPT-A INPUT -j DROP id"'
    )


def test_a_rule_is_read_as_it_is_meant() -> None:
    rule = parse("! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ")
    assert (str(rule.source), rule.not_source) == ("10.244.0.0/16", True)
    assert (str(rule.destination), rule.not_destination) == ("10.96.0.1/32", False)
    assert (rule.protocol, rule.ports, rule.target, rule.unknown) == ("tcp", (80, 80), "KUBE-MARK-MASQ", "")
    assert parse("-m mark ! --mark 0x4000/0x4000 -j RETURN").not_mark
    assert parse("-j MARK --set-xmark 0x4000/0x0").mark_bits == (0x4000, 0)
    assert parse("-p tcp -m tcp --dport 29952:30207 -g KUBE-NP-tcp-29952-30207").ports == (29952, 30207)
    assert parse("-m string --string x -j DROP").unknown == "--string x"
