"""What an Endpoints object may say."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid, metadata, metadata_update
from fairway.objects.codec import Document
from fairway.objects.service import PROTOCOLS
from fairway.objects.status import not_supported, required


def validate(endpoints: Document) -> Errors:
    errors = metadata(endpoints, namespaced=True, name_format=formats.dns_subdomain)
    for index, subset in enumerate(endpoints.get("subsets", [])):
        errors += _subset(subset, f"subsets[{index}]")
    return errors


def validate_update(endpoints: Document, old: Document) -> Errors:
    return metadata_update(endpoints, old)


def _subset(subset: Document, path: str) -> Errors:
    errors: Errors = []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for field in ("addresses", "notReadyAddresses"):
        for index, address in enumerate(subset.get(field, [])):
            errors += _address(address, f"{path}.{field}[{index}]")
    ports = subset.get("ports", [])
    for index, port in enumerate(ports):
        errors += _port(port, f"{path}.ports[{index}]", named=len(ports) > 1)
    return errors


def _address(address: Document, path: str) -> Errors:
    text = address.get("ip", "")
    errors = each_invalid(f"{path}.ip", text, formats.address(text))
    if address.get("hostname"):
        errors += each_invalid(f"{path}.hostname", address["hostname"], formats.dns_label(address["hostname"]))
    if "nodeName" in address:
        errors += each_invalid(f"{path}.nodeName", address["nodeName"], formats.dns_subdomain(address["nodeName"]))
    return errors + each_invalid(f"{path}.ip", text, formats.special_address(text))


def _port(port: Document, path: str, *, named: bool) -> Errors:
    errors: Errors = []
    name, protocol, number = port.get("name", ""), port.get("protocol", ""), port.get("port", 0)
    if name:
        errors += each_invalid(f"{path}.name", name, formats.dns_label(name))
    elif named:
        errors.append(required(f"{path}.name"))
    errors += each_invalid(f"{path}.port", number, formats.port_number(number))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if "appProtocol" in port:
        errors += each_invalid(f"{path}.appProtocol", port["appProtocol"], formats.qualified_name(port["appProtocol"]))
    return errors
