"""Unit tests of `fairway.apiserver.duplicates`: fields that a body says twice."""

from __future__ import annotations

import pytest

from fairway.apiserver.duplicates import duplicates_in_json, duplicates_in_yaml


@pytest.mark.parametrize(
    "body, paths",
    [
        (b"{}", []),
        (b'{"a": 1, "b": {"a": 1}}', []),
        (b'{"a": 1, "a": 2, "a": 3}', ["a"]),
        (b'{"a": {"b": [1, {"c": 1, "c": 1}]}}', ["a.b[1].c"]),
        (b'{"a": {"b": 1, "b": 1}, "c": 1, "c": 1}', ["c", "a.b"]),
        (b'[{"a": 1, "a": 1}]', ["[0].a"]),
        (b'{"a": ' + b"9" * 5000 + b', "b": 1e999}', []),
    ],
)
def test_in_json_they_are_named_by_their_paths(body: bytes, paths: list[str]) -> None:
    assert duplicates_in_json(body) == [f'duplicate field "{path}"' for path in paths]


@pytest.mark.parametrize(
    "body, problems",
    [
        (b"a: 1\nb: {a: 1}\n", []),
        (b"a: 1\na: 2\n", ['line 2: key "a" already set in map']),
        (b"a:\n- b: 1\n  c: 1\n  b: 1\n", ['line 4: key "b" already set in map']),
        (b"? [a]\n: 1\n? [a]\n: 1\n", []),
        (b"", []),
    ],
)
def test_in_yaml_they_are_named_by_their_lines(body: bytes, problems: list[str]) -> None:
    assert duplicates_in_yaml(body) == problems
