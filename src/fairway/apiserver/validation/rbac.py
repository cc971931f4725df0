"""What roles and their bindings may say."""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid, metadata, metadata_update
from fairway.apiserver.validation.selectors import selector_errors
from fairway.objects.codec import Document
from fairway.objects.status import invalid, not_supported, required

GROUP = "rbac.authorization.k8s.io"
_BOTH = "rules cannot apply to both regular resources and non-resource URLs"


def validate_role(document: Document, *, namespaced: bool) -> Errors:
    errors = metadata(document, namespaced=namespaced, name_format=formats.path_segment)
    for index, rule in enumerate(document.get("rules") or ()):
        errors += _rule(rule, f"rules[{index}]", namespaced)
    aggregation = document.get("aggregationRule")
    return errors if aggregation is None else errors + _aggregation(aggregation)


def _aggregation(rule: Document) -> Errors:
    path, selectors = "aggregationRule.clusterRoleSelectors", rule.get("clusterRoleSelectors") or ()
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    return [error for index, one in enumerate(selectors) for error in selector_errors(one, f"{path}[{index}]")]


def _rule(rule: Document, path: str, namespaced: bool) -> Errors:
    errors = [] if rule.get("verbs") else [required(f"{path}.verbs", "verbs must contain at least one value")]
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            words = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, words))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            errors.append(invalid(f"{path}.nonResourceURLs", urls, _BOTH))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def validate_binding(document: Document, *, namespaced: bool) -> Errors:
    errors = metadata(document, namespaced=namespaced, name_format=formats.path_segment)
    reference = document.get("roleRef") or {}
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if reference.get("apiGroup") != GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), [GROUP]))
    if reference.get("kind") not in kinds:
        errors.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
    if not reference.get("name"):
        errors.append(required("roleRef.name"))
    else:
        errors += each_invalid("roleRef.name", reference["name"], formats.path_segment(reference["name"]))
    for index, subject in enumerate(document.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{index}]")
    return errors


def _subject(subject: Document, path: str) -> Errors:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    errors = [] if name else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if name:
            errors += each_invalid(f"{path}.name", name, formats.dns_subdomain(name))
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, [""]))
        if not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, [GROUP]))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"]))
    return errors


def validate_binding_update(new: Document, old: Document) -> Errors:
    errors = metadata_update(new, old)
    if new.get("roleRef") != old.get("roleRef"):
        # A reader of a binding relies on what it gives: a binding to another role is another binding.
        errors.append(invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))
    return errors
