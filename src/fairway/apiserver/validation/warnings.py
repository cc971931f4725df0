"""What is accepted but ill-advised: the texts of ``Warning`` headers."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.service import TOPOLOGY_HINTS, TOPOLOGY_MODE, is_headless, source_ranges
from fairway.model.problems import unknown_annotations
from fairway.objects.codec import Document
from fairway.objects.endpointslice import SLICE_ANNOTATIONS
from fairway.objects.service import SERVICE_ANNOTATIONS


def service_warnings(service: Document) -> list[str]:
    """Of a Service: deprecated fields, fields that its type ignores, addresses written in an unusual form."""
    spec = service["spec"]
    found = []
    if TOPOLOGY_HINTS in service.get("metadata", {}).get("annotations", {}):
        found.append(
            f"metadata.annotations[{TOPOLOGY_HINTS}]: deprecated since v1.27, use {TOPOLOGY_MODE} "
            "or spec.trafficDistribution instead"
        )
    if is_headless(spec):
        found += _headless(spec)
    found += _external(spec)
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated, use "PreferSameZone" instead')
    return found + _unusual(service) + _unknown(service, SERVICE_ANNOTATIONS)


def _unknown(document: Document, known: Sequence[str]) -> list[str]:
    """Annotations of ours that mean nothing: a later version may know them, so they are not refused."""
    annotations = document.get("metadata", {}).get("annotations") or ()
    return [f"{path}: {words}" for path, words in unknown_annotations(annotations, known)]


def _headless(spec: Document) -> list[str]:
    given = {
        "spec.loadBalancerIP": spec.get("loadBalancerIP"),
        "spec.externalIPs": spec.get("externalIPs"),
        "spec.SessionAffinity": spec.get("sessionAffinity", "None") != "None",
    }
    return [f"{path} is ignored when spec.clusterIP is 'None'" for path, value in given.items() if value]


def _external(spec: Document) -> list[str]:
    found = []
    if spec.get("externalIPs"):
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        found.append("spec.externalIPs is ignored when spec.type is 'ExternalName'")
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append("spec.externalName is ignored when spec.type is not 'ExternalName'")
    return found


def _unusual(service: Document) -> list[str]:
    spec = service["spec"]
    addresses = [(f"spec.clusterIPs[{index}]", text) for index, text in enumerate(spec.get("clusterIPs", []))]
    addresses += [(f"spec.externalIPs[{index}]", text) for index, text in enumerate(spec.get("externalIPs", []))]
    addresses += [("spec.loadBalancerIP", spec["loadBalancerIP"])] if spec.get("loadBalancerIP") else []
    found = []
    for path, text in addresses:
        if text != "None":
            known = formats.parse_address(text) is not None
            found += _form(path, text, formats.canonical(text) if known else None, "IP address")
    for path, text in source_ranges(service)[1]:
        network = formats.parse_network(text)
        found += _form(path, text, str(network) if network is not None else None, "CIDR value")
    return found


def _form(path: str, text: str, canonical: str | None, what: str) -> list[str]:
    if canonical is None:
        return [f'{path}: "{text}" is not a valid {what}']
    if canonical == text:
        return []
    if ":" in text:
        return [f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{canonical}")']
    return [f'{path}: non-standard {what} "{text}" will be considered invalid in a future release: use "{canonical}"']


def network_policy_warnings(policy: Document) -> list[str]:
    """Nobody here filters packets between pods; a user who relies on it must know."""
    return ["this cluster stores NetworkPolicies but does not enforce them: install something that does"]


def endpoint_slice_warnings(slice_: Document) -> list[str]:
    found = ["addressType: FQDN endpoints are deprecated"] if slice_.get("addressType") == "FQDN" else []
    return found + _unknown(slice_, SLICE_ANNOTATIONS)
