"""What an etcd's address may look like, and what is said of one that makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.storage.etcd_address import EtcdAddress, endpoints_of, target_of


def test_a_list_of_endpoints_has_commas() -> None:
    assert endpoints_of("http://a:2379, https://b:1/,") == ("http://a:2379", "https://b:1")


@pytest.mark.parametrize(
    "endpoint, target",
    [
        ("http://10.0.0.1:2379", "dns:///10.0.0.1:2379"),
        ("https://etcd-1.example", "dns:///etcd-1.example:2379"),
        ("http://[::1]:2380", "ipv6:[::1]:2380"),
    ],
)
def test_an_endpoint_as_grpc_names_it(endpoint: str, target: str) -> None:
    assert target_of(endpoint) == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "10.0.0.1:2379",
        "ftp://a:1",
        "http://",
        "http://a:x",
        "http://a:70000",
        "http://a/b",
        "http://u@a",
        "http://[::x]",
    ],
)
def test_what_is_no_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not an etcd endpoint; expected a URL such as http"):
        EtcdAddress(endpoints=(endpoint,))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"endpoints": ()}, "no etcd endpoint is given"),
        ({"prefix": "fairway"}, "prefix 'fairway' is not a path such as /fairway"),
        ({"prefix": "/"}, "prefix '/' is not a path"),
        ({"prefix": "/a\n"}, "is not a path"),
        ({"certificate": Path("c")}, "a client certificate for etcd needs its key"),
        ({"key": Path("k")}, "the key its certificate"),
        ({"authority": Path("ca")}, "a CA for etcd is given, but http://a is not https"),
    ],
)
def test_what_does_not_go_together_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EtcdAddress(**{"endpoints": ("http://a",), **fields})
