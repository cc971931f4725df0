"""Nobody gives away what they do not have: who writes a role, or binds one, needs everything it allows. Pure.

Exceptions, as in Kubernetes: members of ``system:masters``; the verb ``escalate`` on the role that is written; the verb
``bind`` on the role that is bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from fairway.apiserver.access.roles import MASTERS
from fairway.apiserver.access.rules import EVERYTHING, GROUP, Attributes, Grant, Rule, matches_path
from fairway.apiserver.access.users import User
from fairway.apiserver.admission import Attempt
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource
from fairway.objects.status import not_found

_ROLES = (resources.ROLES, resources.CLUSTER_ROLES)
_BINDINGS = (resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS)
# What an aggregated role may come to hold, whatever it holds now.
_ANYTHING = (
    Rule(verbs=("*",), api_groups=("*",), resources=("*",)),
    Rule(verbs=("*",), non_resource_urls=("*",)),
)


class Rights(Protocol):
    """What the guard has to know of everybody's roles."""

    def allows(self, user: User, asked: Attributes) -> bool:
        """Whether a user's roles allow it."""

    def grants(self, user: User, namespace: str) -> Iterable[Grant]:
        """Every rule that holds for a user in a namespace, everywhere when it is empty."""

    def rules_of(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role, of a ClusterRole without a namespace; None for one that there is not."""


class Escalation:
    """The guard, as an admission plugin that is always on."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights

    def __call__(self, attempt: Attempt) -> str:
        """Why a user may not write this role or binding, empty when they may; raises `ApiError` for no such role."""
        if attempt.user is None or MASTERS in attempt.user.groups:
            return ""
        if attempt.resource in _ROLES:
            return self._role(attempt, attempt.user)
        return self._binding(attempt, attempt.user) if attempt.resource in _BINDINGS else ""

    def _role(self, attempt: Attempt, user: User) -> str:
        old, new = attempt.old or {}, attempt.new
        namespace, name = new["metadata"].get("namespace", ""), new["metadata"]["name"]
        aggregates = new.get("aggregationRule")
        if (old.get("rules"), old.get("aggregationRule")) == (new.get("rules"), aggregates) and attempt.old:
            return ""
        if self._rights.allows(user, Attributes("escalate", GROUP, attempt.resource.plural, "", namespace, name)):
            return ""
        rules = _rules(new)
        changed = aggregates != old.get("aggregationRule")
        return self._missing(user, namespace, (*rules, *_ANYTHING) if aggregates and changed else rules)

    def _binding(self, attempt: Attempt, user: User) -> str:
        old, new = attempt.old or {}, attempt.new
        if attempt.old and (old.get("subjects"), old["roleRef"]) == (new.get("subjects"), new["roleRef"]):
            return ""
        namespace, reference = new["metadata"].get("namespace", ""), new["roleRef"]
        of: Resource = resources.ROLES if reference["kind"] == "Role" else resources.CLUSTER_ROLES
        if self._rights.allows(user, Attributes("bind", GROUP, of.plural, "", namespace, reference["name"])):
            return ""
        rules = self._rights.rules_of(namespace if of.namespaced else "", reference["name"])
        if rules is None:
            raise not_found(of, reference["name"])
        return self._missing(user, namespace, rules)

    def _missing(self, user: User, namespace: str, wanted: Iterable[Rule]) -> str:
        held = [grant.rule for grant in self._rights.grants(user, namespace)]
        missing = [part for rule in wanted for part in _parts(rule) if not any(covers(one, part) for one in held)]
        if not missing:
            return ""
        groups = " ".join(f'"{group}"' for group in user.groups)
        words = "is attempting to grant RBAC permissions not currently held:"
        return "\n".join([f'user "{user.name}" (groups=[{groups}]) {words}', *_described(missing)])


def _rules(role: Document) -> tuple[Rule, ...]:
    return tuple(msgspec.convert(rule, Rule) for rule in role.get("rules") or ())


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule as rules of one verb on one thing, each of which has to be held."""
    for verb in rule.verbs:
        for url in rule.non_resource_urls or ():
            yield Rule(verbs=(verb,), non_resource_urls=(url,))
        for group in rule.api_groups or ():
            for resource in rule.resources or ():
                for name in rule.resource_names or (None,):
                    names = None if name is None else (name,)
                    yield Rule(verbs=(verb,), api_groups=(group,), resources=(resource,), resource_names=names)


def covers(held: Rule, part: Rule) -> bool:
    """Whether a rule allows all that a rule of one verb on one thing does."""
    if not _has(held.verbs, part.verbs):
        return False
    if part.non_resource_urls:
        return any(matches_path(one, part.non_resource_urls[0]) for one in held.non_resource_urls or ())
    names = held.resource_names or ()
    return (
        _has(held.api_groups or (), part.api_groups or ())
        and _has_resource(held.resources or (), (part.resources or ("",))[0])
        and (not names or (bool(part.resource_names) and _has(names, part.resource_names or ())))
    )


def _has(held: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return EVERYTHING in held or set(wanted) <= set(held)


def _has_resource(held: tuple[str, ...], resource: str) -> bool:
    subresource = resource.partition("/")[2]
    return EVERYTHING in held or resource in held or bool(subresource and f"*/{subresource}" in held)


def _described(missing: Iterable[Rule]) -> list[str]:
    """What is missing, as Kubernetes writes it: the verbs for one thing together."""
    verbs: dict[tuple[tuple[str, tuple[str, ...]], ...], list[str]] = {}
    for rule in missing:
        what = (
            ("APIGroups", rule.api_groups or ()),
            ("Resources", rule.resources or ()),
            ("ResourceNames", rule.resource_names or ()),
            ("NonResourceURLs", rule.non_resource_urls or ()),
        )
        verbs.setdefault(tuple(pair for pair in what if pair[1]), []).append(rule.verbs[0])
    return [
        "{" + ", ".join(f"{field}:{_list(values)}" for field, values in (*what, ("Verbs", tuple(found)))) + "}"
        for what, found in verbs.items()
    ]


def _list(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
