"""What a container of a Pod may say."""

from __future__ import annotations

import re
from typing import Any

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, duplicates, each_invalid, nonnegative
from fairway.objects.codec import Document
from fairway.objects.service import PROTOCOLS
from fairway.objects.status import duplicate, forbidden_field, invalid, not_in, not_supported, required

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_SCHEMES = ("HTTP", "HTTPS")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_VARIABLE = "[ -<>-~]+"
_VALUE_SOURCES = ("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef")


def containers(spec: Document, path: str, volumes: frozenset[str]) -> Errors:
    """The errors of the containers and init containers of a pod spec; ``volumes`` are the names it declares."""
    errors: Errors = []
    found = [
        (f"{path}.{field}[{index}]", container)
        for field in ("initContainers", "containers")
        for index, container in enumerate(spec.get(field, []))
    ]
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    for where, container in found:
        errors += _container(container, where, volumes, host_network=bool(spec.get("hostNetwork")))
    errors += duplicates((f"{where}.name", one["name"]) for where, one in found if one.get("name"))
    return errors + _host_ports(found)


def _container(container: Document, path: str, volumes: frozenset[str], *, host_network: bool) -> Errors:
    name, image = container.get("name", ""), container.get("image", "")
    errors = each_invalid(f"{path}.name", name, formats.dns_label(name)) if name else [required(f"{path}.name")]
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    errors += _choice(container, path, "imagePullPolicy", _PULL_POLICIES)
    errors += _choice(container, path, "terminationMessagePolicy", _MESSAGE_POLICIES)
    errors += _ports(container.get("ports", []), f"{path}.ports", host_network=host_network)
    for index, variable in enumerate(container.get("env", [])):
        errors += _variable(variable, f"{path}.env[{index}]")
    errors += _mounts(container.get("volumeMounts", []), f"{path}.volumeMounts", volumes)
    for kind in _PROBES:
        if kind in container:
            errors += _probe(container[kind], f"{path}.{kind}", kind)
    return errors + _resources(container.get("resources", {}), f"{path}.resources")


def _choice(container: Document, path: str, field: str, supported: tuple[str, ...]) -> Errors:
    value = container.get(field)
    if not value:
        return [required(f"{path}.{field}")]
    return [] if value in supported else [not_supported(f"{path}.{field}", value, supported)]


def _ports(ports: list[Document], path: str, *, host_network: bool) -> Errors:
    errors = duplicates((f"{path}[{index}].name", port["name"]) for index, port in enumerate(ports) if port.get("name"))
    for index, port in enumerate(ports):
        errors += _port(port, f"{path}[{index}]", host_network=host_network)
    return errors


def _port(port: Document, path: str, *, host_network: bool) -> Errors:
    errors: Errors = []
    name, number, host, protocol = (port.get(f, "") for f in ("name", "containerPort", "hostPort", "protocol"))
    if name:
        errors += each_invalid(f"{path}.name", name, formats.port_name(name))
    if not number:
        errors.append(required(f"{path}.containerPort"))
    else:
        errors += each_invalid(f"{path}.containerPort", number, formats.port_number(number))
    if host:
        errors += each_invalid(f"{path}.hostPort", host, formats.port_number(host))
        if host_network and host != number:
            errors.append(invalid(f"{path}.hostPort", host, "must match `containerPort` when `hostNetwork` is true"))
    if port.get("hostIP"):
        errors += each_invalid(f"{path}.hostIP", port["hostIP"], formats.address(port["hostIP"]))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    return errors


def _host_ports(found: list[tuple[str, Document]]) -> Errors:
    """A port of the host can be used once in a Pod; init containers run one after the other and may share."""
    errors: Errors = []
    seen: set[str] = set()
    for where, container in found:
        if ".initContainers[" in where:
            continue
        for index, port in enumerate(container.get("ports", [])):
            if not port.get("hostPort"):
                continue
            used = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if used in seen:
                errors.append(duplicate(f"{where}.ports[{index}].hostPort", used))
            seen.add(used)
    return errors


def _variable(variable: Document, path: str) -> Errors:
    name, source = variable.get("name", ""), variable.get("valueFrom")
    errors: Errors = []
    if not name:
        errors.append(required(f"{path}.name"))
    elif not re.fullmatch(_VARIABLE, name):
        words = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        errors.append(invalid(f"{path}.name", name, words))
    if source is None:
        return errors
    given = [kind for kind in _VALUE_SOURCES if kind in source]
    if variable.get("value"):
        errors.append(invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty"))
    elif not given:
        one_of = ", ".join(f"`{kind}`" for kind in _VALUE_SOURCES[:-1])
        words = f"must specify one of: {one_of} or `{_VALUE_SOURCES[-1]}`"
        errors.append(invalid(f"{path}.valueFrom", "", words))
    if len(given) > 1:
        errors.append(invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time"))
    return errors


def _mounts(mounts: list[Document], path: str, volumes: frozenset[str]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where, name, target = f"{path}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in volumes:
            errors.append(not_in(f"{where}.name", name))
        if not target:
            errors.append(required(f"{where}.mountPath"))
        elif target in seen:
            errors.append(invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
    return errors


def _probe(probe: Document, path: str, kind: str) -> Errors:
    errors = _handler(probe, path)
    for field in _PROBE_NUMBERS:
        errors += nonnegative(f"{path}.{field}", probe.get(field))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


def _handler(probe: Document, path: str) -> Errors:
    given = [kind for kind in _HANDLERS if kind in probe]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [forbidden_field(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in given[1:]]
    kind, handler = given[0], probe[given[0]]
    where = f"{path}.{kind}"
    if kind == "exec" and not handler.get("command"):
        errors.append(required(f"{where}.command"))
    if kind == "httpGet":
        if not handler.get("path"):
            errors.append(required(f"{where}.path"))
        if handler.get("scheme") not in _SCHEMES:
            errors.append(not_supported(f"{where}.scheme", handler.get("scheme"), _SCHEMES))
    if kind != "exec":
        port = handler.get("port", 0)
        errors += each_invalid(f"{where}.port", port, formats.port_number_or_name(port))
    return errors


def _resources(resources: Document, path: str) -> Errors:
    errors: Errors = []
    limits = resources.get("limits", {})
    for kind in ("limits", "requests"):
        for name, amount in sorted(resources.get(kind, {}).items()):
            errors += each_invalid(f"{path}.{kind}", name, formats.qualified_name(name))
            errors += _amount(f"{path}.{kind}[{name}]", amount)
    for name, amount in sorted(resources.get("requests", {}).items()):
        limit, request = formats.parse_quantity(limits.get(name, amount)), formats.parse_quantity(amount)
        if limit is not None and request is not None and request > limit:
            words = f"must be less than or equal to {name} limit of {limits[name]}"
            errors.append(invalid(f"{path}.requests", amount, words))
    return errors


def _amount(path: str, amount: Any) -> Errors:
    parsed = formats.parse_quantity(amount)
    if parsed is None:
        words = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        return [invalid(path, amount, words)]
    return [invalid(path, amount, "must be greater than or equal to 0")] if parsed < 0 else []
