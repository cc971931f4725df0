"""What a NetworkPolicy may say."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid, metadata, metadata_update
from fairway.apiserver.validation.selectors import selector_errors
from fairway.objects.codec import Document
from fairway.objects.service import PROTOCOLS
from fairway.objects.status import forbidden_field, invalid, not_supported, required

POLICY_TYPES = ("Egress", "Ingress")


def validate(policy: Document) -> Errors:
    spec = policy.get("spec", {})
    errors = metadata(policy, namespaced=True, name_format=formats.dns_subdomain)
    errors += selector_errors(spec.get("podSelector", {}), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction, [])):
            errors += _rule(rule, peers, f"spec.{direction}[{index}]")
    types = spec.get("policyTypes", [])
    if len(types) > len(POLICY_TYPES):
        return [*errors, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    return errors + [
        not_supported(f"spec.policyTypes[{index}]", one, POLICY_TYPES)
        for index, one in enumerate(types)
        if one not in POLICY_TYPES
    ]


def validate_update(policy: Document, old: Document) -> Errors:
    return metadata_update(policy, old)


def _rule(rule: Document, peers: str, path: str) -> Errors:
    errors: Errors = []
    for index, port in enumerate(rule.get("ports", [])):
        errors += _port(port, f"{path}.ports[{index}]")
    for index, peer in enumerate(rule.get(peers, [])):
        errors += _peer(peer, f"{path}.{peers}[{index}]")
    return errors


def _port(port: Document, path: str) -> Errors:
    errors: Errors = []
    protocol, number = port.get("protocol"), port.get("port")
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if number is not None:
        errors += each_invalid(f"{path}.port", number, formats.port_number_or_name(number))
    return errors + (_last_port(port, f"{path}.endPort") if "endPort" in port else [])


def _last_port(port: Document, path: str) -> Errors:
    first, last = port.get("port"), port["endPort"]
    if first is None:
        return [invalid(path, last, "may not be specified when `port` is not specified")]
    if isinstance(first, str):
        return [invalid(path, last, "may not be specified when `port` is non-numeric")]
    errors = [invalid(path, first, "must be greater than or equal to `port`")] if last < first else []
    return errors + each_invalid(path, last, formats.port_number(last))


def _peer(peer: Document, path: str) -> Errors:
    errors: Errors = []
    chosen = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    for field in chosen:
        errors += selector_errors(peer[field], f"{path}.{field}")
    block = peer.get("ipBlock")
    if block is not None:
        errors += _block(block, f"{path}.ipBlock")
        if chosen:
            errors.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    elif not chosen:
        errors.append(required(path, "must specify a peer"))
    return errors


def _block(block: Document, path: str) -> Errors:
    text = block.get("cidr", "")
    if not text:
        return [required(f"{path}.cidr")]
    errors = each_invalid(f"{path}.cidr", text, formats.network(text))
    whole = formats.parse_network(text)
    for index, one in enumerate(block.get("except", [])):
        where = f"{path}.except[{index}]"
        problems = formats.network(one)
        errors += each_invalid(where, one, problems)
        part = formats.parse_network(one)
        if not problems and whole and part and not _strictly_inside(part, whole):
            errors.append(invalid(where, one, "must be a strict subset of `cidr`"))
    return errors


def _strictly_inside(part: formats.Network, whole: formats.Network) -> bool:
    return part.version == whole.version and part.prefixlen > whole.prefixlen and part.network_address in whole
