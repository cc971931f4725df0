"""Unit tests of `fairway.objects.selectors`."""

from __future__ import annotations

import pytest

from fairway.objects.selectors import (
    EVERYTHING,
    FieldRequirement,
    SelectorError,
    label_selector,
    match_labels,
    parse_field_selector,
    parse_label_selector,
)
from fairway.objects.workloads import LabelSelector, LabelSelectorRequirement

WEB = {"app": "web", "tier": "front", "example.com/owner": "shop"}


@pytest.mark.parametrize(
    "text, matches",
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app=db", False),
        ("missing=web", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=web", True),  # a label that is not there is not equal to anything
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("! missing", True),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app in ( web , db )", True),
        ("app notin (db)", True),
        ("missing notin (db)", True),
        ("app notin (web)", False),
        ("app=web,tier!=back,!legacy,example.com/owner in (shop)", True),
        ("app=web,tier=back", False),
        ("app=", False),
        ("missing=", False),
        ("in=web", False),
    ],
)
def test_a_label_selector_means_what_kubectl_means(text: str, matches: bool) -> None:
    assert parse_label_selector(text).matches(WEB) is matches


@pytest.mark.parametrize(
    "text", ["app=web tier=front", "=web", "app in web", "app in (web", ",app", "a=b,,c=d", "app>1", "-x"]
)
def test_a_label_selector_that_cannot_be_read_is_shown(text: str) -> None:
    with pytest.raises(SelectorError, match="unable to parse requirement") as caught:
        parse_label_selector(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["a=b,", "a=b, "])
def test_a_label_selector_does_not_end_in_a_comma(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_label_selector(text)


def test_match_labels_wants_every_label() -> None:
    assert match_labels({"app": "web", "tier": "front"}).matches(WEB)
    assert not match_labels({"app": "web", "tier": "back"}).matches(WEB)
    assert match_labels(None) == EVERYTHING
    assert EVERYTHING.matches(None)


@pytest.mark.parametrize(
    "operator, values, matches",
    [("In", ("web",), True), ("NotIn", ("web",), False), ("Exists", None, True), ("DoesNotExist", None, False)],
)
def test_match_expressions_use_the_apis_operators(operator: str, values: tuple[str, ...] | None, matches: bool) -> None:
    expression = LabelSelectorRequirement(key="app", operator=operator, values=values)
    assert label_selector(LabelSelector(match_expressions=(expression,))).matches(WEB) is matches


def test_an_unknown_operator_is_named() -> None:
    expression = LabelSelectorRequirement(key="app", operator="Like", values=("web",))
    with pytest.raises(SelectorError, match="'Like' is not a valid label selector operator"):
        label_selector(LabelSelector(match_expressions=(expression,)))


def test_a_field_selector_is_a_list_of_paths_and_values() -> None:
    assert parse_field_selector("metadata.name=web,spec.clusterIP!=None") == (
        FieldRequirement("metadata.name", True, "web"),
        FieldRequirement("spec.clusterIP", False, "None"),
    )
    assert parse_field_selector("metadata.name==web") == (FieldRequirement("metadata.name", True, "web"),)
    assert parse_field_selector("") == ()
    assert parse_field_selector("status.podIP=") == (FieldRequirement("status.podIP", True, ""),)


@pytest.mark.parametrize("text", ["metadata.name", "=web", "metadata.name>web", "a b=c"])
def test_a_field_selector_that_cannot_be_read_is_shown(text: str) -> None:
    with pytest.raises(SelectorError, match="invalid field selector"):
        parse_field_selector(text)
