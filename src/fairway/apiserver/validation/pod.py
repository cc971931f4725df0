"""What a Pod, or the template of one, may say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.container import containers
from fairway.apiserver.validation.metadata import (
    Errors,
    annotation_errors,
    duplicates,
    each_invalid,
    label_errors,
    metadata,
    metadata_update,
    nonnegative,
)
from fairway.objects.codec import Document
from fairway.objects.status import FieldError, forbidden_field, invalid, not_supported, required

RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_TOLERATION_OPERATORS = ("Equal", "Exists")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate(pod: Document) -> Errors:
    errors = metadata(pod, namespaced=True, name_format=formats.dns_subdomain)
    return errors + pod_spec(pod.get("spec", {}), "spec")


def template(found: Document, path: str) -> Errors:
    """The errors of a pod template at ``path`` (``spec.template``)."""
    meta = found.get("metadata", {})
    errors = label_errors(meta.get("labels", {}), f"{path}.labels")
    errors += annotation_errors(meta.get("annotations", {}), f"{path}.annotations")
    return errors + pod_spec(found.get("spec", {}), f"{path}.spec")


def pod_spec(spec: Document, path: str) -> Errors:
    volumes = [volume.get("name", "") for volume in spec.get("volumes", [])]
    errors = _volumes(volumes, f"{path}.volumes")
    errors += containers(spec, path, frozenset(volumes))
    errors += _choice(spec, path, "restartPolicy", RESTART_POLICIES)
    errors += _choice(spec, path, "dnsPolicy", _DNS_POLICIES)
    errors += nonnegative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    errors += label_errors(spec.get("nodeSelector", {}), f"{path}.nodeSelector")
    for field, shape in _FORMATS.items():
        if spec.get(field):
            errors += each_invalid(f"{path}.{field}", spec[field], shape(spec[field]))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        words = "must be between 1 and 2147483647, inclusive"
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, words))
    errors += _host_aliases(spec.get("hostAliases", []), f"{path}.hostAliases")
    return errors + _tolerations(spec.get("tolerations", []), f"{path}.tolerations")


_FORMATS = {
    "nodeName": formats.dns_subdomain,
    "hostname": formats.dns_label,
    "subdomain": formats.dns_label,
    "serviceAccountName": formats.dns_subdomain,
    "schedulerName": formats.qualified_name,
    "priorityClassName": formats.dns_subdomain,
}


def _choice(spec: Document, path: str, field: str, supported: tuple[str, ...]) -> Errors:
    value = spec.get(field)
    if not value:
        return [required(f"{path}.{field}")]
    return [] if value in supported else [not_supported(f"{path}.{field}", value, supported)]


def _volumes(names: list[str], path: str) -> Errors:
    errors = duplicates((f"{path}[{index}].name", name) for index, name in enumerate(names) if name)
    for index, name in enumerate(names):
        where = f"{path}[{index}].name"
        errors += each_invalid(where, name, formats.dns_label(name)) if name else [required(where)]
    return errors


def _host_aliases(aliases: list[Document], path: str) -> Errors:
    errors: Errors = []
    for index, alias in enumerate(aliases):
        ip = alias.get("ip", "")
        errors += each_invalid(f"{path}[{index}].ip", ip, formats.address(ip))
        for number, name in enumerate(alias.get("hostnames", [])):
            errors += each_invalid(f"{path}[{index}].hostnames[{number}]", name, formats.dns_subdomain(name))
    return errors


def _tolerations(tolerations: list[Document], path: str) -> Errors:
    errors: Errors = []
    for index, toleration in enumerate(tolerations):
        where = f"{path}[{index}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        if key:
            errors += each_invalid(f"{where}.key", key, formats.qualified_name(key))
        elif operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{where}.operator", operator, words))
        if operator and operator not in _TOLERATION_OPERATORS:
            errors.append(not_supported(f"{where}.operator", operator, _TOLERATION_OPERATORS))
        if operator == "Exists" and toleration.get("value"):
            errors.append(invalid(f"{where}.operator", toleration, "value must be empty when `operator` is 'Exists'"))
        effect = toleration.get("effect", "")
        if effect and effect not in _EFFECTS:
            errors.append(not_supported(f"{where}.effect", effect, _EFFECTS))
    return errors


def validate_update(pod: Document, old: Document) -> Errors:
    """A Pod's spec stays as it is, but for its images and a few other fields.

    ``nodeName`` may be set while it is empty: the scheduler of the lab writes it directly, without the ``binding``
    subresource.
    """
    errors = metadata_update(pod, old)
    new, before = pod.get("spec", {}), old.get("spec", {})
    for field in ("initContainers", "containers"):
        if len(new.get(field, [])) != len(before.get(field, [])):
            return [*errors, forbidden_field(f"spec.{field}", "pod updates may not add or remove containers")]
    errors += _deadline_update(new, before) + _tolerations_update(new, before)
    changed = sorted(_differences(_without_changeable(new, before), before, ""))
    if changed:
        errors.append(forbidden_field("spec", f"{_MAY_CHANGE}\nchanged: {', '.join(changed)}"))
    return errors


def _without_changeable(new: Document, before: Document) -> Document:
    """``new`` with the fields that may change as they were before."""
    same = copy.copy(new)
    for field in ("initContainers", "containers"):
        if field in new:
            pairs = zip(new[field], before[field], strict=True)
            same[field] = [{**one, "image": other.get("image", "")} for one, other in pairs]
    keep = ["activeDeadlineSeconds", "tolerations"]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        keep.append("terminationGracePeriodSeconds")
    if not before.get("nodeName"):
        keep.append("nodeName")
    for field in keep:
        same.pop(field, None)
        if field in before:
            same[field] = before[field]
    return same


def _differences(new: Any, old: Any, path: str) -> Iterator[str]:
    """The paths at which two values differ, as deep as they can be named."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in new.keys() | old.keys():
            yield from _differences(new.get(key), old.get(key), f"{path}.{key}" if path else f"spec.{key}")
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (one, other) in enumerate(zip(new, old, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif new != old:
        yield path


def _deadline_update(new: Document, before: Document) -> Errors:
    now, then = new.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if then is None or now == then:
        return []
    if now is None:
        return [invalid(path, None, "must not update from a positive integer to nil value")]
    if now > then:
        return [invalid(path, now, "must be less than or equal to previous value")]
    return []


def _tolerations_update(new: Document, before: Document) -> list[FieldError]:
    now = new.get("tolerations", [])
    if all(_still_there(toleration, now) for toleration in before.get("tolerations", [])):
        return []
    return [forbidden_field("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _still_there(toleration: Document, now: list[Document]) -> bool:
    def without_time(one: Document) -> Document:
        return {field: value for field, value in one.items() if field != "tolerationSeconds"}

    return any(without_time(one) == without_time(toleration) for one in now)
