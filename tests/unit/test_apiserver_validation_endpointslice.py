"""Every rule of an EndpointSlice."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation.endpointslice import validate, validate_update
from fairway.objects.codec import Document

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}


def slice_(*endpoints: Document, **fields: Any) -> Document:
    found: Document = {
        "metadata": {"name": "web-1", "namespace": "shop"},
        "addressType": "IPv4",
        "endpoints": list(endpoints) or [{"addresses": ["10.0.0.1"]}],
        "ports": [HTTP],
    }
    return {field: value for field, value in (found | fields).items() if value is not None}


def endpoint(**fields: Any) -> Document:
    return slice_({"addresses": ["10.0.0.1"]} | fields)


WRONG: list[tuple[str, Document, str, str]] = [
    ("no type", slice_(addressType=None), "addressType", "Required value"),
    (
        "type",
        slice_(addressType="IP"),
        "addressType",
        'Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"',
    ),
    (
        "weight",
        slice_(metadata={"name": "web-1", "namespace": "shop", "annotations": {"fairway.dev/weight": "many"}}),
        "metadata.annotations[fairway.dev/weight]",
        'Invalid value: "many": must be a weight from 0 to 100',
    ),
    (
        "too many endpoints",
        slice_(*[{"addresses": ["10.0.0.1"]}] * 1001),
        "endpoints",
        "Too many: 1001: must have at most 1000 items",
    ),
    (
        "too many ports",
        slice_(ports=[{"name": f"p{number}", "port": 80, "protocol": "TCP"} for number in range(20001)]),
        "ports",
        "Too many: 20001: must have at most 20000 items",
    ),
    (
        "no address",
        slice_({"addresses": []}),
        "endpoints[0].addresses",
        "Required value: must contain at least 1 address",
    ),
    (
        "too many addresses",
        slice_({"addresses": ["10.0.0.1"] * 101}),
        "endpoints[0].addresses",
        "Too many: 101: must have at most 100 items",
    ),
    (
        "no IP",
        slice_({"addresses": ["x"]}),
        "endpoints[0].addresses[0]",
        'Invalid value: "x": must be a valid IP address',
    ),
    (
        "other family",
        slice_({"addresses": ["10.0.0.1", "fd00::1"]}),
        "endpoints[0].addresses[1]",
        'Invalid value: "fd00::1": must be an IPv4 address',
    ),
    (
        "loopback",
        slice_({"addresses": ["127.0.0.1"]}),
        "endpoints[0].addresses[0]",
        'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ),
    (
        "not canonical",
        slice_({"addresses": ["FD00::1"]}, addressType="IPv6"),
        "endpoints[0].addresses[0]",
        'Invalid value: "FD00::1": must be in canonical form ("fd00::1")',
    ),
    (
        "FQDN",
        slice_({"addresses": ["A_b"]}, addressType="FQDN"),
        "endpoints[0].addresses[0]",
        'Invalid value: "A_b": a',
    ),
    ("node", endpoint(nodeName="a b"), "endpoints[0].nodeName", 'Invalid value: "a b": a lowercase RFC 1123 subdomain'),
    ("hostname", endpoint(hostname="a.b"), "endpoints[0].hostname", 'Invalid value: "a.b": a lowercase RFC 1123 label'),
    (
        "topology",
        endpoint(deprecatedTopology={f"a{n}": "b" for n in range(17)}),
        "endpoints[0].deprecatedTopology",
        "Too many: 17: must have at most 16 items",
    ),
    (
        "zone twice",
        endpoint(hints={"forZones": [{"name": "a"}, {"name": "a"}]}),
        "endpoints[0].hints.forZones[1].name",
        'Duplicate value: "a"',
    ),
    (
        "zones",
        endpoint(hints={"forZones": [{"name": f"a{n}"} for n in range(9)]}),
        "endpoints[0].hints.forZones",
        "Too many: 9: must have at most 8 items",
    ),
    (
        "node hint",
        endpoint(hints={"forNodes": [{"name": ""}]}),
        "endpoints[0].hints.forNodes[0].name",
        "Required value",
    ),
    (
        "port name",
        slice_(ports=[HTTP | {"name": "A"}]),
        "ports[0].name",
        'Invalid value: "A": a lowercase RFC 1123 label',
    ),
    ("port name twice", slice_(ports=[HTTP, HTTP | {"port": 81}]), "ports[1].name", 'Duplicate value: "http"'),
    ("no protocol", slice_(ports=[{"name": "a", "port": 1}]), "ports[0].protocol", "Required value"),
    (
        "protocol",
        slice_(ports=[HTTP | {"protocol": "ICMP"}]),
        "ports[0].protocol",
        'Unsupported value: "ICMP": supported',
    ),
    (
        "port",
        slice_(ports=[HTTP | {"port": 0}]),
        "ports[0].port",
        "Invalid value: 0: must be between 1 and 65535, incl",
    ),
    (
        "app protocol",
        slice_(ports=[HTTP | {"appProtocol": "a b"}]),
        "ports[0].appProtocol",
        'Invalid value: "a b": name part',
    ),
]


@pytest.mark.parametrize("document, path, words", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
@pytest.mark.reference("6.2 validation")
def test_a_wrong_slice_is_told_what_is_wrong_with_which_field(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in validate(document)}
    assert errors.get(path, "").startswith(words), errors


@pytest.mark.parametrize(
    "document",
    [
        slice_(),
        slice_(endpoints=[], ports=[]),
        slice_(endpoints=None, ports=None),
        slice_({"addresses": ["fd00::1"]}, addressType="IPv6"),
        slice_({"addresses": ["a.example.com"]}, addressType="FQDN"),
        slice_(ports=[{"name": "", "protocol": "TCP"}]),
        endpoint(nodeName="node-1", hostname="a", hints={"forZones": [{"name": "a"}], "forNodes": [{"name": "n"}]}),
    ],
)
@pytest.mark.reference("6.2 validation")
def test_a_valid_slice_has_no_errors(document: Document) -> None:
    assert [str(error) for error in validate(document)] == []


@pytest.mark.reference("6.2 validation")
def test_the_address_type_does_not_change() -> None:
    errors = validate_update(slice_(addressType="IPv6"), slice_())
    assert [str(error) for error in errors] == ['addressType: Invalid value: "IPv6": field is immutable']
