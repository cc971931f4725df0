"""What an EndpointSlice may say: the reference's section 6.2."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import (
    IMMUTABLE,
    Errors,
    duplicates,
    each_invalid,
    label_errors,
    metadata,
    metadata_update,
)
from fairway.model.weights import weight_of
from fairway.objects.codec import Document
from fairway.objects.endpointslice import ADDRESS_TYPES, WEIGHT_ANNOTATION
from fairway.objects.service import MOST_WEIGHT, PROTOCOLS
from fairway.objects.status import invalid, not_supported, required, too_many

MOST_ENDPOINTS = 1000
MOST_ADDRESSES = 100
MOST_PORTS = 20000
MOST_HINTS = 8
MOST_TOPOLOGY = 16


def validate(slice_: Document) -> Errors:
    errors = metadata(slice_, namespaced=True, name_format=formats.dns_subdomain)
    kind = slice_.get("addressType", "")
    if not kind:
        errors.append(required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(not_supported("addressType", kind, ADDRESS_TYPES))
    errors += _weight(slice_)
    errors += _endpoints(slice_.get("endpoints", []), kind)
    return errors + _ports(slice_.get("ports", []))


def _weight(slice_: Document) -> Errors:
    """Ours: a weight that means nothing is a mistake while somebody is there to be told."""
    written = slice_.get("metadata", {}).get("annotations", {}).get(WEIGHT_ANNOTATION, "1")
    if weight_of(written) is not None:
        return []
    return [invalid(f"metadata.annotations[{WEIGHT_ANNOTATION}]", written, f"must be a weight from 0 to {MOST_WEIGHT}")]


def validate_update(slice_: Document, old: Document) -> Errors:
    errors = metadata_update(slice_, old)
    if slice_.get("addressType") != old.get("addressType"):
        errors.append(invalid("addressType", slice_.get("addressType"), IMMUTABLE))
    return errors


def _endpoints(endpoints: list[Document], kind: str) -> Errors:
    if len(endpoints) > MOST_ENDPOINTS:
        return [too_many("endpoints", len(endpoints), MOST_ENDPOINTS)]
    errors: Errors = []
    for index, endpoint in enumerate(endpoints):
        errors += _endpoint(endpoint, f"endpoints[{index}]", kind)
    return errors


def _endpoint(endpoint: Document, path: str, kind: str) -> Errors:
    errors = _addresses(endpoint.get("addresses", []), f"{path}.addresses", kind)
    if "nodeName" in endpoint:
        errors += each_invalid(f"{path}.nodeName", endpoint["nodeName"], formats.dns_subdomain(endpoint["nodeName"]))
    topology = endpoint.get("deprecatedTopology", {})
    if len(topology) > MOST_TOPOLOGY:
        errors.append(too_many(f"{path}.deprecatedTopology", len(topology), MOST_TOPOLOGY))
    errors += label_errors(topology, f"{path}.deprecatedTopology")
    if "hostname" in endpoint:
        errors += each_invalid(f"{path}.hostname", endpoint["hostname"], formats.dns_label(endpoint["hostname"]))
    hints = endpoint.get("hints", {})
    errors += _hints(hints.get("forZones", []), f"{path}.hints.forZones", formats.label_value)
    return errors + _hints(hints.get("forNodes", []), f"{path}.hints.forNodes", formats.dns_subdomain)


def _addresses(addresses: list[str], path: str, kind: str) -> Errors:
    if not addresses:
        return [required(path, "must contain at least 1 address")]
    if len(addresses) > MOST_ADDRESSES:
        return [too_many(path, len(addresses), MOST_ADDRESSES)]
    errors: Errors = []
    for index, text in enumerate(addresses):
        errors += each_invalid(f"{path}[{index}]", text, _address_problems(text, kind))
    return errors


def _address_problems(text: str, kind: str) -> formats.Problems:
    if kind == "FQDN":
        return formats.dns_subdomain(text)
    if kind not in ("IPv4", "IPv6"):
        return []
    problems = formats.address(text)
    if problems:
        return problems
    if formats.family(text) != kind:
        return [f"must be an {kind} address"]
    canonical = formats.canonical(text)
    if canonical != text:
        problems.append(f'must be in canonical form ("{canonical}")')
    return problems + formats.special_address(text)


def _hints(hints: list[Document], path: str, name_format: formats.Format) -> Errors:
    if len(hints) > MOST_HINTS:
        return [too_many(path, len(hints), MOST_HINTS)]
    errors = duplicates((f"{path}[{index}].name", hint.get("name", "")) for index, hint in enumerate(hints))
    for index, hint in enumerate(hints):
        name = hint.get("name", "")
        where = f"{path}[{index}].name"
        errors += each_invalid(where, name, name_format(name)) if name else [required(where)]
    return errors


def _ports(ports: list[Document]) -> Errors:
    if len(ports) > MOST_PORTS:
        return [too_many("ports", len(ports), MOST_PORTS)]
    errors = duplicates((f"ports[{index}].name", port.get("name", "")) for index, port in enumerate(ports))
    for index, port in enumerate(ports):
        errors += _port(port, f"ports[{index}]")
    return errors


def _port(port: Document, path: str) -> Errors:
    errors: Errors = []
    name, protocol = port.get("name", ""), port.get("protocol", "")
    if name:
        errors += each_invalid(f"{path}.name", name, formats.dns_label(name))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if "port" in port:
        errors += each_invalid(f"{path}.port", port["port"], formats.port_number(port["port"]))
    if "appProtocol" in port:
        errors += each_invalid(f"{path}.appProtocol", port["appProtocol"], formats.qualified_name(port["appProtocol"]))
    return errors
