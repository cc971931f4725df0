"""The rules of RBAC, evaluated: pure functions from roles and bindings to yes, no, and why.

A `Policy` is built once from the stored objects and answers by subject, so that a question costs as much as the
asking user has rules, however many others there are::

    ClusterRoleBinding  (Group, system:nodes) ─┐             ┌─ ""      rules that hold everywhere
    RoleBinding in shop (User, ann)           ─┴▶ by subject ┴─ "shop"  rules that hold in the namespace shop
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fairway.objects.meta import ObjectMeta, Value

GROUP = "rbac.authorization.k8s.io"
EVERYTHING = "*"


class Attributes(NamedTuple):
    """What a request wants to do. With a ``path`` it is about no object, and everything but the verb is empty."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """``deployments/scale``: the resource as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Rule(Value):
    """One rule of a role: these verbs on these resources, or on these paths."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    resource_names: tuple[str, ...] | None = None
    non_resource_urls: tuple[str, ...] | None = msgspec.field(default=None, name="nonResourceURLs")

    def allows(self, asked: Attributes) -> bool:
        if EVERYTHING not in self.verbs and asked.verb not in self.verbs:
            return False
        if asked.path:
            return any(matches_path(one, asked.path) for one in self.non_resource_urls or ())
        groups = self.api_groups or ()
        if EVERYTHING not in groups and asked.group not in groups:
            return False
        return self._has_resource(asked) and (not self.resource_names or asked.name in self.resource_names)

    def _has_resource(self, asked: Attributes) -> bool:
        resources = self.resources or ()
        if EVERYTHING in resources or asked.full_resource in resources:
            return True
        return bool(asked.subresource) and f"*/{asked.subresource}" in resources


def matches_path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith(EVERYTHING) else pattern == path


class Role(Value):
    """A Role, or a ClusterRole when it has no namespace."""

    metadata: ObjectMeta = ObjectMeta()
    rules: tuple[Rule, ...] | None = None


class RoleReference(Value):
    kind: str = ""
    name: str = ""


class Subject(Value):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class Binding(Value):
    """A RoleBinding, or a ClusterRoleBinding when it has no namespace."""

    metadata: ObjectMeta = ObjectMeta()
    subjects: tuple[Subject, ...] | None = None
    role_ref: RoleReference = RoleReference()


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule somebody has, and the sentence that says through which binding."""

    rule: Rule
    reason: str


class Policy:
    """What everybody may do, by roles and bindings. A binding to a role that does not exist gives nothing."""

    def __init__(self, roles: Iterable[Role], bindings: Iterable[Binding]) -> None:
        self._rules = {(role.metadata.namespace, role.metadata.name): role.rules or () for role in roles}
        self._grants: dict[tuple[str, str], dict[str, list[Grant]]] = {}
        for binding in bindings:
            reference, namespace = binding.role_ref, binding.metadata.namespace
            rules = self._rules.get((namespace if reference.kind == "Role" else "", reference.name), ())
            for subject in binding.subjects or ():
                grants = [Grant(rule, _reason(binding, subject)) for rule in rules]
                self._grants.setdefault(_holder(subject), {}).setdefault(namespace, []).extend(grants)

    def grants(self, name: str, groups: Iterable[str], namespace: str) -> Iterator[Grant]:
        """What a user has everywhere, and in a namespace (none when it is empty)."""
        for holder in (("User", name), *(("Group", group) for group in groups)):
            held = self._grants.get(holder)
            if held:
                yield from held.get("", ())
                if namespace:
                    yield from held.get(namespace, ())

    def rules_of(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role, of a ClusterRole when there is no namespace; None for one that does not exist."""
        return self._rules.get((namespace, name))

    def find(self, name: str, groups: Iterable[str], asked: Attributes) -> Grant | None:
        """The first grant that allows it, None when nothing does."""
        found = self.grants(name, groups, asked.namespace)
        return next((grant for grant in found if grant.rule.allows(asked)), None)


def service_account_name(namespace: str, name: str) -> str:
    """The user name of a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


def _holder(subject: Subject) -> tuple[str, str]:
    if subject.kind == "ServiceAccount":
        return "User", service_account_name(subject.namespace, subject.name)
    return subject.kind, subject.name


def _reason(binding: Binding, subject: Subject) -> str:
    meta, reference = binding.metadata, binding.role_ref
    kind, name = (
        ("RoleBinding", f"{meta.name}/{meta.namespace}") if meta.namespace else ("ClusterRoleBinding", meta.name)
    )
    holder = f"{subject.name}/{subject.namespace}" if subject.kind == "ServiceAccount" else subject.name
    return f'RBAC: allowed by {kind} "{name}" of {reference.kind} "{reference.name}" to {subject.kind} "{holder}"'


def refusal(user: str, asked: Attributes, reason: str = "") -> str:
    """How Kubernetes says that somebody may not: the message of a Forbidden status, without what it is about."""
    if asked.path:
        words = f'User "{user}" cannot {asked.verb} path "{asked.path}"'
    else:
        where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
        what = f'resource "{asked.full_resource}" in API group "{asked.group}"'
        words = f'User "{user}" cannot {asked.verb} {what}{where}'
    return f"{words}: {reason}" if reason else words
