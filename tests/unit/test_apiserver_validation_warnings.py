"""What a user is told although the object is stored."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.strategies import warnings
from fairway.objects.codec import Document


def service(**spec: Any) -> Document:
    return {"kind": "Service", "metadata": {}, "spec": {"type": "ClusterIP", "sessionAffinity": "None", **spec}}


@pytest.mark.parametrize(
    "document, words",
    [
        (
            service(clusterIP="None", loadBalancerIP="10.0.0.1"),
            "spec.loadBalancerIP is ignored when spec.clusterIP is 'N",
        ),
        (
            service(clusterIP="None", sessionAffinity="ClientIP"),
            "spec.SessionAffinity is ignored when spec.clusterIP is",
        ),
        (service(externalIPs=["192.0.2.1"]), "spec.externalIPs is deprecated and may no longer be implemented in some"),
        (service(type="ExternalName", externalIPs=["192.0.2.1"]), "spec.externalIPs is ignored when spec.type is 'Ext"),
        (service(externalName="a.example"), "spec.externalName is ignored when spec.type is not 'ExternalName'"),
        (
            service(trafficDistribution="PreferClose"),
            'spec.trafficDistribution: "PreferClose" is deprecated, use "Prefe',
        ),
        (
            service(clusterIPs=["FD00::1"]),
            'spec.clusterIPs[0]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")',
        ),
        (
            service(loadBalancerIP="010.0.0.1"),
            'spec.loadBalancerIP: non-standard IP address "010.0.0.1" will be considered invalid in a future release: '
            'use "10.0.0.1"',
        ),
        (service(loadBalancerIP="x"), 'spec.loadBalancerIP: "x" is not a valid IP address'),
        (
            service(loadBalancerSourceRanges=["10.0.0.1/8"]),
            'spec.LoadBalancerSourceRanges[0]: non-standard CIDR value "10.0.0.1/8" will be considered invalid in a '
            'future release: use "10.0.0.0/8"',
        ),
        (
            service() | {"metadata": {"annotations": {"service.kubernetes.io/topology-aware-hints": "Auto"}}},
            "metadata.annotations[service.kubernetes.io/topology-aware-hints]: deprecated since v1.27",
        ),
        ({"kind": "EndpointSlice", "addressType": "FQDN"}, "addressType: FQDN endpoints are deprecated"),
        (
            service() | {"metadata": {"annotations": {"fairway.dev/wieghts": "web-*=2"}}},
            "metadata.annotations[fairway.dev/wieghts]: means nothing to Fairway here; did you mean fairway.dev/wei",
        ),
        (
            {"kind": "EndpointSlice", "metadata": {"annotations": {"fairway.dev/weights": "2"}}, "addressType": "IPv4"},
            "metadata.annotations[fairway.dev/weights]: means nothing to Fairway here; did you mean fairway.dev/we",
        ),
    ],
)
@pytest.mark.reference("5.2 warnings")
def test_what_is_ill_advised_is_said(document: Document, words: str) -> None:
    assert any(warning.startswith(words) for warning in warnings(document)), warnings(document)


@pytest.mark.parametrize(
    "document",
    [
        service(clusterIP="10.96.0.7", clusterIPs=["10.96.0.7"]),
        service(clusterIP="None", clusterIPs=["None"]),
        service(type="ExternalName", externalName="a.example"),
        {"kind": "EndpointSlice", "addressType": "IPv4"},
        {"kind": "Pod", "spec": {}},
    ],
)
@pytest.mark.reference("5.2 warnings")
def test_nothing_is_said_about_what_is_fine(document: Document) -> None:
    assert warnings(document) == []
