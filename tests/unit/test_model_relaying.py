"""Unit tests of `fairway.model.relaying`: what annotations ask of the relay, and what they may not say."""

from __future__ import annotations

import pytest

from fairway.model.relaying import kept, mistakes, relaying
from fairway.model.view import Relaying
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec

HTTPS = ServicePort(name="https", port=443)
PLAIN = ServicePort(name="plain", port=80)
DNS = ServicePort(name="dns", port=53, protocol="UDP")


def service(annotations: dict[str, str], *ports: ServicePort) -> Service:
    own = {f"fairway.dev/{name}": value for name, value in annotations.items()}
    return Service(
        metadata=ObjectMeta(name="web", namespace="shop", annotations=own), spec=ServiceSpec(ports=ports or (HTTPS,))
    )


@pytest.mark.parametrize(
    "annotations, expected",
    [
        ({}, None),
        ({"relay": "false"}, None),
        ({"balancing": "hash"}, None),
        ({"relay": "true"}, Relaying()),
        ({"balancing": "least-connections"}, Relaying()),
        ({"access-log": " true "}, Relaying(access_log=True)),
        ({"tls-secret": "shop-tls"}, Relaying(tls=Key("shop", "shop-tls"))),
        ({"proxy-protocol": "v2"}, Relaying(proxy_protocol=2)),
        ({"max-connections": "1000", "max-connections-per-client": "10"}, Relaying(most=1000, most_per_client=10)),
        ({"connection-rate": "50/s", "connection-rate-per-client": "600/m"}, Relaying(rate=50, rate_per_client=10)),
        ({"connection-rate": "7"}, Relaying(rate=7)),
        ({"idle-timeout": "1h30m", "half-closed-timeout": "20s"}, Relaying(idle=5400, half_closed=20)),
    ],
)
def test_annotations_ask_for_what_they_say(annotations: dict[str, str], expected: Relaying | None) -> None:
    one = service(annotations)
    assert relaying(one, HTTPS) == expected
    assert mistakes(one) == []


def test_tls_ends_on_the_ports_that_are_named_only() -> None:
    one = service({"tls-secret": "shop-tls", "tls-ports": "https, 8443"}, HTTPS, PLAIN)
    there, not_there = relaying(one, HTTPS), relaying(one, PLAIN)
    assert there is not None
    assert there.tls == Key("shop", "shop-tls")
    assert not_there == Relaying()
    assert [str(one) for one in mistakes(one)] == [
        "fairway.dev/tls-ports: '8443' is the name or number of no port of the Service"
    ]


@pytest.mark.parametrize(
    "annotation, value, why",
    [
        ("relay", "yes", "must be true or false"),
        ("idle-timeout", "10", "must be a time from 1s to 168h, such as 90s or 1h30m"),
        ("idle-timeout", "", "must be a time from 1s to 168h, such as 90s or 1h30m"),
        ("half-closed-timeout", "169h", "must be a time from 1s to 168h, such as 90s or 1h30m"),
        ("half-closed-timeout", "0s", "must be a time from 1s to 168h, such as 90s or 1h30m"),
        ("tls-secret", "../../etc", "must be the name of a Secret"),
        ("tls-secret", "other/secret", "must be the name of a Secret"),
        ("proxy-protocol", "v3", "must be v1 or v2"),
        ("max-connections", "0", "must be a number from 1 to 1000000"),
        ("max-connections", "1000001", "must be a number"),
        ("max-connections-per-client", "-1", "must be a number"),
        ("connection-rate", "many", "new connections in a time"),
        ("connection-rate-per-client", "5/d", "new connections in a time"),
        ("connection-rate", "٣/s", "new connections in a time"),
    ],
)
def test_what_means_nothing_does_not_count_and_is_said(annotation: str, value: str, why: str) -> None:
    one = service({annotation: value})
    assert relaying(one, HTTPS) is None
    (mistake,) = mistakes(one)
    assert (mistake.annotation, mistake.value) == (f"fairway.dev/{annotation}", value)
    assert why in mistake.why


def test_tls_of_a_service_without_tcp_is_a_mistake() -> None:
    (mistake,) = mistakes(service({"tls-secret": "shop-tls"}, DNS))
    assert "TCP" in mistake.why


def test_a_slip_of_the_pen_leaves_what_was_asked_before() -> None:
    before = service({"max-connections": "10", "access-log": "true"})
    wrong = service({"max-connections": "1O", "access-log": "false"})
    result = kept(wrong, before)
    assert relaying(result, HTTPS) == Relaying(most=10)
    assert relaying(kept(wrong, None), HTTPS) is None
    assert kept(before, wrong) is before
