"""What a Deployment and a ReplicaSet may say."""

from __future__ import annotations

from typing import Any

from fairway.apiserver.validation import formats, pod
from fairway.apiserver.validation.metadata import (
    IMMUTABLE,
    Errors,
    each_invalid,
    metadata,
    metadata_update,
    nonnegative,
)
from fairway.apiserver.validation.selectors import selector_errors
from fairway.objects.codec import Document, view
from fairway.objects.selectors import label_selector
from fairway.objects.status import forbidden_field, invalid, not_supported, required
from fairway.objects.workloads import LabelSelector

_STRATEGIES = ("Recreate", "RollingUpdate")
_COUNTS = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "observedGeneration")


def validate_replica_set(replica_set: Document) -> Errors:
    spec = replica_set["spec"]
    return metadata(replica_set, namespaced=True, name_format=formats.dns_subdomain) + _replicated(spec)


def validate_deployment(deployment: Document) -> Errors:
    spec = deployment["spec"]
    errors = metadata(deployment, namespaced=True, name_format=formats.dns_subdomain) + _replicated(spec)
    errors += _strategy(spec.get("strategy", {}))
    errors += nonnegative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    errors += nonnegative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def validate_update(workload: Document, old: Document) -> Errors:
    """The selector of a workload cannot change: the pods it had made would belong to nobody."""
    errors = metadata_update(workload, old)
    selector = workload["spec"].get("selector")
    if selector != old["spec"].get("selector"):
        errors.append(invalid("spec.selector", selector, IMMUTABLE))
    return errors


def _replicated(spec: Document) -> Errors:
    errors = nonnegative("spec.replicas", spec.get("replicas"))
    errors += nonnegative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector_errors = _selector(spec.get("selector"))
    errors += selector_errors
    template = spec.get("template", {})
    found = template.get("metadata", {}).get("labels", {})
    if not selector_errors and not label_selector(view(spec["selector"], LabelSelector)).matches(found):
        words = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", found, words))
    errors += pod.template(template, "spec.template")
    inside = template.get("spec", {})
    policy = inside.get("restartPolicy")
    if policy in pod.RESTART_POLICIES and policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if "activeDeadlineSeconds" in inside:
        words = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(forbidden_field("spec.template.spec.activeDeadlineSeconds", words))
    return errors


def _selector(selector: Document | None) -> Errors:
    path = "spec.selector"
    if selector is None:
        return [required(path)]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid(path, selector, "empty selector is invalid for deployment")]
    return selector_errors(selector, path)


def _strategy(strategy: Document) -> Errors:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    path = "spec.strategy"
    if kind not in _STRATEGIES:
        return [not_supported(f"{path}.type", kind, _STRATEGIES)]
    if kind == "Recreate":
        words = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden_field(f"{path}.rollingUpdate", words)] if rolling is not None else []
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    return _rolling(rolling, f"{path}.rollingUpdate")


def _rolling(rolling: Document, path: str) -> Errors:
    surge, unavailable = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
    errors = _count_or_percent(unavailable, f"{path}.maxUnavailable")
    errors += _count_or_percent(surge, f"{path}.maxSurge")
    if not errors and _number(unavailable) == 0 and _number(surge) == 0:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    if isinstance(unavailable, str) and not errors and _number(unavailable) > 100:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%"))
    return errors


def _count_or_percent(value: Any, path: str) -> Errors:
    if isinstance(value, str):
        return each_invalid(path, value, formats.percent(value))
    return nonnegative(path, value)


def _number(value: int | str) -> int:
    return int(str(value).removesuffix("%"))


def validate_counts(workload: Document) -> Errors:
    """The errors of a workload's status: counts cannot be negative, nor can more be ready than exist."""
    status = workload.get("status", {})
    errors: Errors = []
    for field in _COUNTS:
        errors += nonnegative(f"status.{field}", status.get(field))
    for field in _COUNTS[1:4]:
        if field in status and status[field] > status.get("replicas", 0):
            words = "cannot be greater than status.replicas"
            errors.append(invalid(f"status.{field}", status[field], words))
    if "availableReplicas" in status and status["availableReplicas"] > status.get("readyReplicas", 0):
        words = "cannot be greater than readyReplicas"
        errors.append(invalid("status.availableReplicas", status["availableReplicas"], words))
    return errors
