"""Unit tests of `fairway.objects.codec`."""

from __future__ import annotations

import pytest

from fairway.objects.codec import DecodeError, decode, document, encode, read_yaml, view
from fairway.objects.service import Service


def test_a_wrong_type_names_its_path() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(b'{"spec":{"ports":[{"port":"x"}]}}', Service)
    assert caught.value.path == "spec.ports[0].port"
    assert str(caught.value) == "spec.ports[0].port: expected int, got str"


def test_text_that_is_not_json_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="truncated"):
        decode(b'{"spec"', Service)


def test_deep_nesting_is_refused_without_a_crash() -> None:
    with pytest.raises(DecodeError):
        decode(b'{"a":' * 100_000, dict)


def test_a_view_keeps_what_it_knows_and_drops_the_rest() -> None:
    service = view({"spec": {"clusterIP": "10.96.0.1", "unheardOf": 1}}, Service)
    assert document(service) == {"spec": {"clusterIP": "10.96.0.1"}}
    assert encode(service) == b'{"spec":{"clusterIP":"10.96.0.1"}}'


def test_yaml_lists_are_taken_apart() -> None:
    text = """
kind: List
items: [{kind: Service, metadata: {name: a}}]
---
kind: Service
metadata: {name: b}
---
"""
    assert [one["metadata"]["name"] for one in read_yaml(text)] == ["a", "b"]


def test_a_yaml_date_stays_text() -> None:
    assert read_yaml("a: 2026-01-02T03:04:05Z") == [{"a": "2026-01-02T03:04:05Z"}]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: &x [1]\nb: *x\n", "line 2: YAML aliases"),
        ("a: [", "line 2"),
        ("- just\n- a list\n", "expected an object with apiVersion and kind, got list"),
    ],
)
def test_bad_yaml_says_where(text: str, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_yaml(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["spec:\n  type: NodePort\n  type: ClusterIP\n", '{"spec": {\n"a": 1,\n"type": 1, "type": 2}}']
)
def test_a_field_that_is_there_twice_counts_as_the_last_or_is_refused(text: str) -> None:
    assert list(read_yaml(text)[0]["spec"].values())[-1] in ("ClusterIP", 2)
    with pytest.raises(DecodeError, match="line 3: type is there twice"):
        read_yaml(text, once=True)
    assert read_yaml("a: {b: 1}\nc: [{b: 1}, {b: 1}]\n---\na: 1\n", once=True)


def test_text_that_is_not_utf_8_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="text that is not UTF-8: byte 0xff"):
        decode(b'{"a": "\xff"}', dict)
