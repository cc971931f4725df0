"""Which IP families a Service gets: the reference's section 5.4.

The policy, the families and the addresses of a request say different parts of the same thing; the rest follows from
them and from the families the cluster has.
"""

from __future__ import annotations

from fairway.apiserver.strategy import FieldErrors
from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import Errors
from fairway.apiserver.validation.service import is_headless
from fairway.apiserver.validation.service_addresses import address_errors
from fairway.objects.codec import Document
from fairway.objects.status import invalid

_POLICY = "spec.ipFamilyPolicy"
_SINGLE = "SingleStack"


def settle_families(old: Document | None, new: Document, configured: tuple[str, ...]) -> None:
    """Fill ``ipFamilyPolicy`` and ``ipFamilies``; changes ``new``, raises `FieldErrors`.

    ``configured`` are the families of the cluster, the primary first.
    """
    if new.get("type") == "ExternalName" or (old is not None and _left_alone(old, new)):
        return
    selectorless = is_headless(new) and not new.get("selector")
    if "ipFamilyPolicy" not in new:
        before = old.get("ipFamilyPolicy") if old else None
        new["ipFamilyPolicy"] = before or ("RequireDualStack" if selectorless else _SINGLE)
    if old is not None:
        _release_second(old, new)
    _raise(address_errors(new))
    _raise(_policy_errors(new) + _infer(new, configured))
    if selectorless:
        # Nothing is allocated for it, and whoever writes its endpoints may know families that the cluster does not.
        _complete(new, configured[0], ("IPv4", "IPv6"))
        return
    _raise(_configured_errors(new, configured))
    _complete(new, configured[0], configured)


def _raise(errors: Errors) -> None:
    if errors:
        raise FieldErrors(errors)


def _left_alone(old: Document, new: Document) -> bool:
    """A Service that prefers dual stack is not changed behind its user's back when the cluster gains a family."""
    same = all(old.get(field) == new.get(field) for field in ("type", "clusterIPs", "ipFamilies"))
    return same and new.get("ipFamilyPolicy") == old.get("ipFamilyPolicy") == "PreferDualStack"


def _release_second(old: Document, new: Document) -> None:
    for field, words in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        before, now = old.get(field, []), new.get(field, [])
        if new["ipFamilyPolicy"] == _SINGLE:
            if now == before and len(now) > 1:
                new[field] = now[:1]
        elif len(before) > len(now) > 0 and old.get("type") != "ExternalName":
            message = f"must be 'SingleStack' to release the secondary {words}"
            raise FieldErrors([invalid(_POLICY, new["ipFamilyPolicy"], message)])


def _policy_errors(new: Document) -> Errors:
    if new["ipFamilyPolicy"] != _SINGLE:
        return []
    return [
        invalid(_POLICY, _SINGLE, f"must be RequireDualStack or PreferDualStack when multiple {words} are specified")
        for field, words in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(new.get(field, [])) == 2
    ]


def _infer(new: Document, configured: tuple[str, ...]) -> Errors:
    """Add the family of each address that has none beside it."""
    errors: Errors = []
    addresses: list[str] = new.get("clusterIPs", [])
    families: list[str] = list(new.get("ipFamilies", []))
    if addresses[:1] == ["None"]:
        return []
    for index, text in enumerate(addresses[len(families) :], len(families)):
        family = formats.family(text)
        if family in configured:
            families.append(family)
        else:
            errors.append(
                invalid(f"spec.clusterIPs[{index}]", addresses, f"{family} is not configured on this cluster")
            )
    if families:
        new["ipFamilies"] = families
    return errors


def _configured_errors(new: Document, configured: tuple[str, ...]) -> Errors:
    errors: Errors = []
    if new["ipFamilyPolicy"] == "RequireDualStack" and len(configured) < 2:
        message = "this cluster is not configured for dual-stack services"
        errors.append(invalid(_POLICY, new["ipFamilyPolicy"], message))
    return errors + [
        invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(new.get("ipFamilies", []))
        if family not in configured
    ]


def _complete(new: Document, primary: str, possible: tuple[str, ...]) -> None:
    families = list(new.get("ipFamilies") or [primary])
    if new["ipFamilyPolicy"] != _SINGLE and len(families) == 1:
        families += [family for family in possible if family != families[0]]
    new["ipFamilies"] = families
