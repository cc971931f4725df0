"""What a Service may say: the rules of the reference's section 5.2, for create, update and status.

Allocation has run before: addresses, families and node ports that were left open are filled in here.
"""

from __future__ import annotations

from typing import Any

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import (
    Errors,
    duplicates,
    each_invalid,
    label_errors,
    metadata,
    metadata_update,
)
from fairway.apiserver.validation.service_addresses import address_errors, address_update, family_update
from fairway.model.relaying import mistakes
from fairway.model.weights import parse as parse_weights
from fairway.objects.codec import Document, view
from fairway.objects.service import (
    BALANCING_ANNOTATION,
    BALANCINGS,
    OWN_ANNOTATIONS,
    PROTOCOLS,
    SERVICE_TYPES,
    STALE_CONNECTIONS,
    STALE_CONNECTIONS_ANNOTATION,
    TRAFFIC_POLICIES,
    WEIGHTS_ANNOTATION,
    Service,
)
from fairway.objects.status import FieldError, duplicate, forbidden_field, invalid, not_supported, required

KUBELET_PORT = 10250
LONGEST_AFFINITY = 86400  # seconds: one day
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_AFFINITIES = ("ClientIP", "None")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_INTERNAL_TYPES = ("ClusterIP", "LoadBalancer", "NodePort")
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_SPEC = "spec"


def validate(service: Document) -> Errors:
    """The errors of a Service as it would be stored."""
    spec = service["spec"]
    errors = metadata(service, namespaced=True, name_format=formats.dns_label)
    errors += _topology(service) + _balancing(service) + _weights(service) + _stale_connections(service)
    errors += _relaying(service)
    errors += _ports_wanted(spec)
    errors += _for_type(spec)
    errors += _ports(spec)
    errors += label_errors(spec.get("selector", {}), f"{_SPEC}.selector")
    errors += _affinity(spec)
    errors += address_errors(spec)
    errors += _external_addresses(spec)
    errors += choice(spec, "type", SERVICE_TYPES)
    errors += _node_ports(spec)
    errors += _source_ranges(service)
    errors += _load_balancer(spec)
    errors += _external_policy(spec)
    errors += _health_check(spec)
    errors += choice(spec, "internalTrafficPolicy", TRAFFIC_POLICIES, needed=spec.get("type") in _INTERNAL_TYPES)
    errors += choice(spec, "trafficDistribution", _DISTRIBUTIONS, needed=False)
    return errors


def validate_update(service: Document, old: Document) -> Errors:
    """What may not change as it did from ``old`` to ``service``."""
    new, before = service["spec"], old["spec"]
    errors = metadata_update(service, old)
    errors += address_update(new, before)
    errors += family_update(new, before)
    if new.get("type") == before.get("type") == "LoadBalancer":
        errors += _unchanged(new, before, "loadBalancerClass", "may not change once set")
    if needs_health_check(new) and needs_health_check(before) and _differs(new, before, "healthCheckNodePort"):
        errors.append(forbidden_field(f"{_SPEC}.healthCheckNodePort", "field is immutable"))
    return errors


def validate_status(service: Document, old: Document) -> Errors:
    """The errors of a new ``status``; addresses that were there before are tolerated."""
    path = "status.loadBalancer.ingress"
    ingress = _ingress(service)
    errors = metadata_update(service, old)
    if ingress and service["spec"].get("type") != "LoadBalancer":
        errors.append(forbidden_field(path, "may only be used when `spec.type` is 'LoadBalancer'"))
    known = {entry.get("ip") for entry in _ingress(old)}
    for index, entry in enumerate(ingress):
        errors += _ingress_entry(entry, f"{path}[{index}]", known)
    return errors


def choice(spec: Document, field: str, supported: tuple[str, ...], *, needed: bool = True) -> Errors:
    """The error of a field of ``spec`` that takes one of a few words."""
    path, value = f"{_SPEC}.{field}", spec.get(field)
    if not value:
        return [required(path)] if needed else []
    return [] if value in supported else [not_supported(path, value, sorted(supported))]


def is_headless(spec: Document) -> bool:
    return bool((spec.get("clusterIPs") or [spec.get("clusterIP")])[0] == "None")


def externally_accessible(spec: Document) -> bool:
    """Whether clients outside the cluster can reach it, so that an external traffic policy means something."""
    type_ = spec.get("type")
    return type_ in ("NodePort", "LoadBalancer") or (type_ == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Document) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _differs(new: Document, old: Document, field: str) -> bool:
    return bool(new.get(field) != old.get(field))


def _unchanged(new: Document, old: Document, field: str, words: str) -> Errors:
    return [invalid(f"{_SPEC}.{field}", new.get(field), words)] if _differs(new, old, field) else []


def _topology(service: Document) -> Errors:
    found = service.get("metadata", {}).get("annotations", {})
    mode, hints = found.get(TOPOLOGY_MODE), found.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    words = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, words)]


def _balancing(service: Document) -> Errors:
    """Ours: a word that means nothing is a mistake while somebody is there to be told."""
    chosen = service.get("metadata", {}).get("annotations", {}).get(BALANCING_ANNOTATION, BALANCINGS[0])
    if chosen in BALANCINGS:
        return []
    return [not_supported(f"metadata.annotations[{BALANCING_ANNOTATION}]", chosen, BALANCINGS)]


def _weights(service: Document) -> Errors:
    """Ours, too."""
    written = service.get("metadata", {}).get("annotations", {}).get(WEIGHTS_ANNOTATION, "")
    _, problems = parse_weights(written)
    return [invalid(f"metadata.annotations[{WEIGHTS_ANNOTATION}]", written, words) for words in problems]


def _stale_connections(service: Document) -> Errors:
    """Ours, too."""
    written = service.get("metadata", {}).get("annotations", {}).get(STALE_CONNECTIONS_ANNOTATION)
    if not written or written in STALE_CONNECTIONS:
        return []
    return [not_supported(f"metadata.annotations[{STALE_CONNECTIONS_ANNOTATION}]", written, STALE_CONNECTIONS)]


def _relaying(service: Document) -> Errors:
    """Ours, too: a limit or a certificate that is mistyped must not be left out in silence."""
    if not any(name.startswith(OWN_ANNOTATIONS) for name in service["metadata"].get("annotations") or ()):
        return []  # as nearly always: what follows reads the whole Service
    found = mistakes(view(service, Service))
    return [invalid(f"metadata.annotations[{one.annotation}]", one.value, one.why) for one in found]


def _ports_wanted(spec: Document) -> Errors:
    optional = is_headless(spec) or spec.get("type") == "ExternalName"
    return [] if spec.get("ports") or optional else [required(f"{_SPEC}.ports")]


def _for_type(spec: Document) -> Errors:
    match spec.get("type"):
        case "LoadBalancer":
            words = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
            exposed = [
                invalid(f"{_SPEC}.ports[{index}]", KUBELET_PORT, words)
                for index, port in enumerate(spec.get("ports", []))
                if port.get("port") == KUBELET_PORT
            ]
            return exposed + _not_headless(spec)
        case "NodePort":
            return _not_headless(spec)
        case "ExternalName":
            return _external_name(spec)
    return []


def _not_headless(spec: Document) -> Errors:
    words = f"may not be set to 'None' for {spec['type']} services"
    return [invalid(f"{_SPEC}.clusterIPs[0]", "None", words)] if is_headless(spec) else []


def _external_name(spec: Document) -> Errors:
    errors = [
        forbidden_field(f"{_SPEC}.{field}", "may not be set for ExternalName services")
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(field)
    ]
    name = spec.get("externalName", "").removesuffix(".")
    path = f"{_SPEC}.externalName"
    return errors + (each_invalid(path, name, formats.dns_subdomain(name)) if name else [required(path)])


def _ports(spec: Document) -> Errors:
    ports = list(enumerate(spec.get("ports", [])))
    errors: Errors = []
    for index, port in ports:
        errors += _port(port, f"{_SPEC}.ports[{index}]", name_needed=len(ports) > 1)
    errors += duplicates((f"{_SPEC}.ports[{index}].name", port["name"]) for index, port in ports if port.get("name"))
    return errors + _same_twice(ports)


def _port(port: Document, path: str, *, name_needed: bool) -> Errors:
    errors: Errors = []
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        errors += each_invalid(f"{path}.name", name, formats.dns_label(name))
    elif name_needed:
        errors.append(required(f"{path}.name"))
    errors += each_invalid(f"{path}.port", number, formats.port_number(number))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    target = port.get("targetPort", 0)
    errors += each_invalid(f"{path}.targetPort", target, formats.port_number_or_name(target))
    if "appProtocol" in port:
        errors += each_invalid(f"{path}.appProtocol", port["appProtocol"], formats.qualified_name(port["appProtocol"]))
    return errors


def _same_twice(ports: list[tuple[int, Document]]) -> Errors:
    """A protocol may appear with a node port once, and with a port once."""
    errors: Errors = []
    for field, leaf in (("nodePort", ".nodePort"), ("port", "")):
        seen: set[tuple[Any, Any]] = set()
        for index, port in ports:
            number, protocol = port.get(field, 0), port.get("protocol", "")
            if number and (protocol, number) in seen:
                value = number if leaf else {"port": number, "protocol": protocol}
                errors.append(duplicate(f"{_SPEC}.ports[{index}]{leaf}", value))
            seen.add((protocol, number))
    return errors


def _affinity(spec: Document) -> Errors:
    errors = choice(spec, "sessionAffinity", _AFFINITIES)
    path = f"{_SPEC}.sessionAffinityConfig"
    if spec.get("sessionAffinity") == "None" and "sessionAffinityConfig" in spec:
        errors.append(forbidden_field(path, "must not be set when session affinity is None"))
    if spec.get("sessionAffinity") == "ClientIP":
        errors += _affinity_timeout(spec, path)
    return errors


def _affinity_timeout(spec: Document, path: str) -> Errors:
    value: Any = spec
    path = _SPEC
    for field in ("sessionAffinityConfig", "clientIP", "timeoutSeconds"):
        path = f"{path}.{field}"
        value = value.get(field)
        if value is None:
            return [required(path, "when session affinity type is ClientIP")]
    if 0 < value <= LONGEST_AFFINITY:
        return []
    return [invalid(path, value, f"must be greater than 0 and less than {LONGEST_AFFINITY}")]


def _external_addresses(spec: Document) -> Errors:
    errors: Errors = []
    for index, text in enumerate(spec.get("externalIPs", [])):
        problems = formats.address(text) or formats.special_address(text)
        errors += each_invalid(f"{_SPEC}.externalIPs[{index}]", text, problems)
    return errors


def _node_ports(spec: Document) -> Errors:
    if spec.get("type") != "ClusterIP":
        return []
    return [
        forbidden_field(f"{_SPEC}.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")
        for index, port in enumerate(spec.get("ports", []))
        if port.get("nodePort")
    ]


def source_ranges(service: Document) -> tuple[str, list[tuple[str, str]]]:
    """The path and the (path, CIDR) pairs of the ranges that may use a load balancer.

    The field counts; the annotation is read only when the field is empty. Both tolerate spaces around a range.
    """
    # Kubernetes itself spells this one path with a capital letter.
    path = f"{_SPEC}.LoadBalancerSourceRanges"
    ranges = service["spec"].get("loadBalancerSourceRanges", [])
    if ranges:
        return path, [(f"{path}[{index}]", text.strip()) for index, text in enumerate(ranges)]
    path = f"metadata.annotations[{SOURCE_RANGES}]"
    text = service.get("metadata", {}).get("annotations", {}).get(SOURCE_RANGES)
    if text is None:
        return "", []
    return path, [(path, one.strip()) for one in text.split(",") if text.strip()]


def _source_ranges(service: Document) -> Errors:
    path, ranges = source_ranges(service)
    if not path:
        return []
    errors: Errors = []
    if service["spec"].get("type") != "LoadBalancer":
        errors.append(forbidden_field(path, _ONLY_LOAD_BALANCER))
    for where, text in ranges:
        errors += each_invalid(where, text, formats.network(text))
    return errors


def _load_balancer(spec: Document) -> Errors:
    allocate, class_ = spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass")
    if spec.get("type") == "LoadBalancer":
        errors = [required("allocateLoadBalancerNodePorts")] if allocate is None else []
        if class_ is not None:
            errors += each_invalid(f"{_SPEC}.loadBalancerClass", class_, formats.qualified_name(class_))
        return errors
    return [
        forbidden_field(f"{_SPEC}.{field}", _ONLY_LOAD_BALANCER)
        for field, value in (("allocateLoadBalancerNodePorts", allocate), ("loadBalancerClass", class_))
        if value is not None
    ]


def _external_policy(spec: Document) -> Errors:
    if externally_accessible(spec):
        return choice(spec, "externalTrafficPolicy", TRAFFIC_POLICIES)
    value = spec.get("externalTrafficPolicy")
    words = "may only be set for externally-accessible services"
    return [invalid(f"{_SPEC}.externalTrafficPolicy", value, words)] if value else []


def _health_check(spec: Document) -> Errors:
    path, port = f"{_SPEC}.healthCheckNodePort", spec.get("healthCheckNodePort", 0)
    if needs_health_check(spec):
        return each_invalid(path, port, formats.port_number(port)) if port else [required(path)]
    words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
    return [invalid(path, port, words)] if port else []


def _ingress(service: Document) -> list[Document]:
    found: list[Document] = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return found


def _ingress_entry(entry: Document, path: str, known: set[Any]) -> Errors:
    errors: Errors = []
    ip, mode, hostname = entry.get("ip", ""), entry.get("ipMode"), entry.get("hostname", "")
    if ip and ip not in known:
        errors += each_invalid(f"{path}.ip", ip, formats.address(ip))
    errors += _ip_mode(f"{path}.ipMode", ip, mode)
    if hostname:
        errors += each_invalid(f"{path}.hostname", hostname, formats.dns_subdomain(hostname))
        if formats.parse_address(hostname) is not None:
            errors.append(invalid(f"{path}.hostname", hostname, "must be a DNS name, not an IP address"))
    return errors


def _ip_mode(path: str, ip: str, mode: str | None) -> list[FieldError]:
    if mode is None:
        return [required(path, "must be specified when `ip` is set")] if ip else []
    if not ip:
        return [forbidden_field(path, "may not be specified when `ip` is not set")]
    return [] if mode in ("Proxy", "VIP") else [not_supported(path, mode, ("Proxy", "VIP"))]
