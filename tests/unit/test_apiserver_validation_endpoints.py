"""Endpoints: every rule with its field and its words."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import endpoints
from fairway.objects.codec import Document

ADDRESS = {"ip": "10.0.0.1"}
PORT = {"port": 80, "protocol": "TCP"}


def with_subset(**subset: Any) -> Document:
    return {"metadata": {"name": "e", "namespace": "shop"}, "subsets": [subset]}


def with_address(**address: Any) -> Document:
    return with_subset(notReadyAddresses=[{**ADDRESS, **address}], ports=[PORT])


def with_port(**port: Any) -> Document:
    return with_subset(addresses=[ADDRESS], ports=[{**PORT, **port}])


WRONG: list[tuple[Document, str]] = [
    (with_subset(ports=[PORT]), "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
    (with_address(ip="x"), 'subsets[0].notReadyAddresses[0].ip: Invalid value: "x": must be a valid IP address'),
    (with_address(ip="127.0.0.1"), 'subsets[0].notReadyAddresses[0].ip: Invalid value: "127.0.0.1": may not be in'),
    (with_address(ip="0.0.0.0"), 'subsets[0].notReadyAddresses[0].ip: Invalid value: "0.0.0.0": may not be unspec'),
    (with_address(hostname="A"), 'subsets[0].notReadyAddresses[0].hostname: Invalid value: "A": a lowercase RFC'),
    (with_address(nodeName="A"), 'subsets[0].notReadyAddresses[0].nodeName: Invalid value: "A": a lowercase RFC'),
    (with_port(port=0), "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
    (with_port(protocol=""), "subsets[0].ports[0].protocol: Required value"),
    (with_port(protocol="ICMP"), 'subsets[0].ports[0].protocol: Unsupported value: "ICMP": supported values:'),
    (with_port(name="A"), 'subsets[0].ports[0].name: Invalid value: "A": a lowercase RFC 1123 label'),
    (with_port(appProtocol="a b"), 'subsets[0].ports[0].appProtocol: Invalid value: "a b": name part'),
    (with_subset(addresses=[ADDRESS], ports=[{**PORT, "name": "a"}, PORT]), "subsets[0].ports[1].name: Required value"),
]


@pytest.mark.parametrize("document, words", WRONG, ids=range(len(WRONG)))
def test_wrong_endpoints_are_told_which_field(document: Document, words: str) -> None:
    (error,) = endpoints.validate(document)
    assert str(error).startswith(words)


def test_endpoints_without_ports_or_without_subsets_are_valid() -> None:
    assert endpoints.validate(with_subset(addresses=[ADDRESS, {"ip": "fd00::1", "nodeName": "n.x"}])) == []
    assert endpoints.validate({"metadata": {"name": "e", "namespace": "shop"}}) == []
