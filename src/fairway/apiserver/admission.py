"""Admission plugins: what a cluster does not want although Kubernetes allows it. Pure.

A plugin sees each write after the kind's own rules have found it valid, and has a reason to refuse it, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError, forbidden

if TYPE_CHECKING:
    from fairway.apiserver.access.users import User


@dataclass(frozen=True)
class Attempt:
    """A write that is about to be done: ``old`` is None at creation, ``user`` when it is the server's own."""

    resource: Resource
    old: Document | None
    new: Document
    user: User | None = None


# Why it must not be; empty: it may.
Plugin = Callable[[Attempt], str]


def deny_service_external_ips(attempt: Attempt) -> str:
    """No external IP that the Service does not have already: whoever sets one can take another's traffic."""
    if attempt.resource is not resources.SERVICES:
        return ""
    added = _external_ips(attempt.new) - (_external_ips(attempt.old) if attempt.old else set())
    return "Use of external IPs is denied by admission control" if added else ""


def _external_ips(service: Document) -> set[str]:
    return set((service.get("spec") or {}).get("externalIPs") or ())


PLUGINS: dict[str, Plugin] = {"DenyServiceExternalIPs": deny_service_external_ips}
# Plugins of Kubernetes whose work is done here in any case.
ALWAYS_ON = ("NamespaceLifecycle", "NodeRestriction")


class Admission:
    """The plugins that are on: some by their names, and ``guards`` that have none; `KeyError` for no such name."""

    def __init__(self, names: Iterable[str] = (), guards: Iterable[Plugin] = ()) -> None:
        self._plugins = [*(PLUGINS[name] for name in names), *guards]

    def check(self, attempt: Attempt) -> None:
        """Raises `ApiError` Forbidden with the first reason."""
        for plugin in self._plugins:
            if reason := plugin(attempt):
                raise refused(attempt.resource, attempt.new["metadata"].get("name", ""), reason)


def refused(resource: Resource, name: str, reason: str) -> ApiError:
    """Forbidden for a reason that lies in the object, in Kubernetes' words."""
    found = forbidden(f'{resource.qualified} "{name}" is forbidden: {reason}')
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    found.details = {field: value for field, value in details.items() if value}
    return found
