"""Label and field selectors: which objects a list, a watch, a Service or a ReplicaSet means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairway.objects.workloads import LabelSelector

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
_OPERATORS: dict[str, Operator] = {
    "In": "In",
    "NotIn": "NotIn",
    "Exists": "Exists",
    "DoesNotExist": "DoesNotExist",
}
_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_TERM = re.compile(
    rf"""\s*(?:
      (?P<absent>!)\s*(?P<absent_key>{_KEY})
    | (?P<set_key>{_KEY})\s+(?P<set_op>in|notin)\s*\((?P<values>[^()]*)\)
    | (?P<key>{_KEY})\s*(?P<op>==|!=|=)\s*(?P<value>[-A-Za-z0-9_.]*)
    | (?P<exists_key>{_KEY})
    )\s*(?:,(?!\s*$)|$)""",
    re.VERBOSE,
)
_FIELD_TERM = re.compile(r"\s*(?P<path>[A-Za-z][\w.]*)\s*(?P<op>==|!=|=)(?P<value>[^,]*)(?:,|$)")


class SelectorError(ValueError):
    """A selector that cannot be read; the message shows where."""


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None


@dataclass(frozen=True)
class Selector:
    """All requirements must hold; an empty selector selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = Selector()


def parse_label_selector(text: str) -> Selector:
    """``app=web,tier!=db,zone in (a,b),!legacy,owner`` as a Selector; raises `SelectorError`."""
    requirements: list[Requirement] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if not match or match.end() == position:
            raise SelectorError(f"unable to parse requirement: {text[position:]!r} in selector {text!r}")
        requirements.append(_requirement(match))
        position = match.end()
    return Selector(tuple(requirements))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], "DoesNotExist")
    if match["exists_key"]:
        return Requirement(match["exists_key"], "Exists")
    if match["set_key"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["set_key"], "In" if match["set_op"] == "in" else "NotIn", values)
    return Requirement(match["key"], "NotIn" if match["op"] == "!=" else "In", frozenset([match["value"]]))


def match_labels(labels: Mapping[str, str] | None) -> Selector:
    """A Service's ``spec.selector`` or a ``matchLabels`` map: every label must have just that value."""
    return Selector(tuple(Requirement(key, "In", frozenset([value])) for key, value in sorted((labels or {}).items())))


def label_selector(selector: LabelSelector) -> Selector:
    """A workload's ``spec.selector``; raises `SelectorError` for an unknown operator."""
    found = list(match_labels(selector.match_labels).requirements)
    for expression in selector.match_expressions or ():
        operator = _OPERATORS.get(expression.operator)
        if operator is None:
            raise SelectorError(f"{expression.operator!r} is not a valid label selector operator")
        found.append(Requirement(expression.key, operator, frozenset(expression.values or ())))
    return Selector(tuple(found))


@dataclass(frozen=True)
class FieldRequirement:
    path: str
    equals: bool
    value: str


def parse_field_selector(text: str) -> tuple[FieldRequirement, ...]:
    """``metadata.name=web,spec.clusterIP!=None`` as requirements; raises `SelectorError`."""
    found: list[FieldRequirement] = []
    position = 0
    while position < len(text):
        match = _FIELD_TERM.match(text, position)
        if not match:
            raise SelectorError(f"invalid field selector: {text!r}; a term is path=value or path!=value")
        found.append(FieldRequirement(match["path"], match["op"] != "!=", match["value"].strip()))
        position = match.end()
    return tuple(found)
