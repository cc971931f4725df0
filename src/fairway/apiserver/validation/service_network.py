"""What a ServiceCIDR and an IPAddress may say."""

from __future__ import annotations

from ipaddress import ip_address

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import IMMUTABLE, Errors, each_invalid, metadata, metadata_update
from fairway.objects.codec import Document
from fairway.objects.status import invalid, required

_CIDRS = "spec.cidrs"
_SHORTEST_IPV6_PREFIX = 64
_ONE_EACH = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def validate_service_cidr(document: Document) -> Errors:
    errors = metadata(document, namespaced=False, name_format=formats.dns_subdomain)
    cidrs = document.get("spec", {}).get("cidrs", [])
    if not cidrs:
        return [*errors, required(_CIDRS, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [*errors, invalid(_CIDRS, cidrs, "may only hold up to 2 values")]
    if len(cidrs) == 2 and {formats.family(text) for text in cidrs} != {"IPv4", "IPv6"}:
        return [*errors, invalid(_CIDRS, cidrs, _ONE_EACH)]
    for index, text in enumerate(cidrs):
        errors += each_invalid(f"{_CIDRS}[{index}]", text, _network_problems(text))
    return errors


def _network_problems(text: str) -> formats.Problems:
    problems = formats.network(text)
    parsed = formats.parse_network(text)
    if problems or parsed is None:
        return problems
    if str(parsed) != text:
        return [f'must be in canonical form ("{parsed}")']
    if parsed.version == 6 and parsed.prefixlen < _SHORTEST_IPV6_PREFIX:
        # The reference accepts it, and then can allocate nothing from it.
        words = f"shortest allowed prefix length for service CIDR is {_SHORTEST_IPV6_PREFIX}, got {parsed.prefixlen}"
        return [words]
    if parsed.num_addresses < (4 if parsed.version == 4 else 2):
        return ["must have room for at least one address"]
    return []


def validate_service_cidr_update(new: Document, old: Document) -> Errors:
    """Its networks stay; a second family may come."""
    errors = metadata_update(new, old)
    now, before = new.get("spec", {}).get("cidrs", []), old.get("spec", {}).get("cidrs", [])
    if len(now) == len(before) or (len(before) == 1 and len(now) == 2):
        return errors + [
            invalid(f"{_CIDRS}[{index}]", one, IMMUTABLE)
            for index, (one, other) in enumerate(zip(now, before, strict=False))
            if one != other
        ]
    return [*errors, invalid(_CIDRS, now, IMMUTABLE)]


def address_name(text: str) -> formats.Problems:
    """The name of an IPAddress is the address, as everybody would write it."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return [f'ParseAddr("{text}"): unable to parse IP']
    return [] if str(parsed) == text and "%" not in text else ["must be a canonical format IP address"]


def validate_ip_address(document: Document) -> Errors:
    errors = metadata(document, namespaced=False, name_format=address_name)
    parent, path = document.get("spec", {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        return [*errors, required(path)]
    if parent.get("group"):
        errors += each_invalid(f"{path}.group", parent["group"], formats.dns_subdomain(parent["group"]))
    for field in ("resource", "name"):
        text = parent.get(field, "")
        where = f"{path}.{field}"
        errors += each_invalid(where, text, formats.path_segment(text)) if text else [required(where)]
    if parent.get("namespace"):
        errors += each_invalid(f"{path}.namespace", parent["namespace"], formats.path_segment(parent["namespace"]))
    return errors


def validate_ip_address_update(new: Document, old: Document) -> Errors:
    errors = metadata_update(new, old)
    parent = new.get("spec", {}).get("parentRef")
    if parent != old.get("spec", {}).get("parentRef"):
        errors.append(invalid("spec.parentRef", parent, IMMUTABLE))
    return errors
