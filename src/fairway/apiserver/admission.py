"""Admission plugins: what a cluster does not want although Kubernetes allows it. Pure.

A plugin sees each write after the kind's own rules have found it valid, and has a reason to refuse it, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError, forbidden

# Why the new document (the third) of a kind must not take the place of the old one (None at creation); empty: it may.
Plugin = Callable[[Resource, Document | None, Document], str]


def deny_service_external_ips(resource: Resource, old: Document | None, new: Document) -> str:
    """No external IP that the Service does not have already: whoever sets one can take another's traffic."""
    if resource is not resources.SERVICES:
        return ""
    added = _external_ips(new) - (_external_ips(old) if old else set())
    return "Use of external IPs is denied by admission control" if added else ""


def _external_ips(service: Document) -> set[str]:
    return set((service.get("spec") or {}).get("externalIPs") or ())


PLUGINS: dict[str, Plugin] = {"DenyServiceExternalIPs": deny_service_external_ips}
# Plugins of Kubernetes whose work is done here in any case.
ALWAYS_ON = ("NamespaceLifecycle", "NodeRestriction")


class Admission:
    """The plugins that are on, by their names; raises `KeyError` for a name that is none."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._plugins = [PLUGINS[name] for name in names]

    def check(self, resource: Resource, old: Document | None, new: Document) -> None:
        """Raises `ApiError` Forbidden with the first reason."""
        for plugin in self._plugins:
            if reason := plugin(resource, old, new):
                name = new["metadata"].get("name", "")
                raise refused(resource, name, reason)


def refused(resource: Resource, name: str, reason: str) -> ApiError:
    """Forbidden for a reason that lies in the object, in Kubernetes' words."""
    found = forbidden(f'{resource.qualified} "{name}" is forbidden: {reason}')
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    found.details = {field: value for field, value in details.items() if value}
    return found
