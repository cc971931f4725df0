"""Cluster IPs and IP families of a Service: what fits together, and what an update may change.

``clusterIP`` and ``clusterIPs[0]`` are the same; a second address is of the other family; ``None`` stands alone.
"""

from __future__ import annotations

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors, each_invalid
from fairway.objects.codec import Document
from fairway.objects.service import IP_FAMILIES
from fairway.objects.status import duplicate, invalid, not_supported, required

POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ADDRESSES, _FAMILIES = "spec.clusterIPs", "spec.ipFamilies"
_FIXED = "may not change once set"


def address_errors(spec: Document) -> Errors:
    """The errors within ``clusterIP``, ``clusterIPs``, ``ipFamilies`` and ``ipFamilyPolicy``."""
    if spec.get("type") == "ExternalName":
        return []
    errors = _in_step(spec) + _families(spec)
    malformed = _malformed(spec)
    errors += malformed
    addresses = spec.get("clusterIPs", [])
    if len(addresses) > 2:
        errors.append(invalid(_ADDRESSES, addresses, "may only hold up to 2 values"))
    if malformed:
        return errors
    if len(addresses) > 1 and {formats.family(text) for text in addresses} != set(IP_FAMILIES):
        errors.append(invalid(_ADDRESSES, addresses, "may specify no more than one IP for each IP family"))
    return errors or _families_of_addresses(spec)


def _in_step(spec: Document) -> Errors:
    primary, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs", [])
    if not primary:
        words = "must be empty when `clusterIP` is not specified"
        return [invalid(_ADDRESSES, addresses, words)] if addresses else []
    if not addresses:
        return [required(_ADDRESSES)]
    return [] if addresses[0] == primary else [invalid(_ADDRESSES, addresses, "first value must match `clusterIP`")]


def _families(spec: Document) -> Errors:
    errors: Errors = []
    families, policy = spec.get("ipFamilies", []), spec.get("ipFamilyPolicy")
    for index, name in enumerate(families):
        if name not in IP_FAMILIES:
            errors.append(not_supported(f"{_FAMILIES}[{index}]", name, IP_FAMILIES))
        if name in families[:index]:
            errors.append(duplicate(f"{_FAMILIES}[{index}]", name))
    if policy is not None and policy not in POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    return errors


def _malformed(spec: Document) -> Errors:
    errors: Errors = []
    addresses = spec.get("clusterIPs", [])
    for index, text in enumerate(addresses):
        if index == 0 and text == "None":
            if len(addresses) > 1:
                errors.append(invalid(_ADDRESSES, addresses, "'None' must be the first and only value"))
        else:
            errors += each_invalid(f"{_ADDRESSES}[{index}]", text, formats.address(text))
    return errors


def _families_of_addresses(spec: Document) -> Errors:
    addresses = spec.get("clusterIPs", [])
    if addresses[:1] == ["None"]:
        return []
    return [
        invalid(f"{_ADDRESSES}[{index}]", text, f"expected an {name} value as indicated by `ipFamilies[{index}]`")
        for index, (text, name) in enumerate(zip(addresses, spec.get("ipFamilies", []), strict=False))
        if formats.family(text) != name
    ]


def address_update(new: Document, old: Document) -> Errors:
    """The primary address stays; a second may come, and go only with ``SingleStack``."""
    if _free_to_change(new, old):
        return []
    return _list_update(new, old, "clusterIPs", "primary clusterIP can not be unset", "secondary clusterIP")


def family_update(new: Document, old: Document) -> Errors:
    """The primary family stays; a second may come, and go only with ``SingleStack``."""
    # To or from headless is refused for the address already; a second error about its family would only confuse.
    if _free_to_change(new, old) or _headless(new) or _headless(old):
        return []
    return _list_update(new, old, "ipFamilies", "primary ipFamily can not be unset", "secondary ipFamily")


def _free_to_change(new: Document, old: Document) -> bool:
    return "ExternalName" in (new.get("type"), old.get("type")) or (_headless(new) and _headless(old))


def _headless(spec: Document) -> bool:
    return bool(spec.get("clusterIPs", [])[:1] == ["None"])


def _list_update(new: Document, old: Document, field: str, unset: str, released: str) -> Errors:
    now, before = new.get(field, []), old.get(field, [])
    path = f"spec.{field}"
    if len(now) == len(before):
        return [
            invalid(f"{path}[{index}]", now, _FIXED)
            for index, (one, other) in enumerate(zip(now, before, strict=True))
            if one != other
        ]
    if before and not now:
        return [invalid(f"{path}[0]", now, unset)]
    errors = [invalid(f"{path}[0]", now, _FIXED)] if before and now[0] != before[0] else []
    if len(now) == 1 and len(before) > 1 and new.get("ipFamilyPolicy") != "SingleStack":
        words = f"`ipFamilyPolicy` must be set to 'SingleStack' when releasing the {released}"
        errors.append(invalid(f"{path}[0]", now, words))
    return errors
