"""What a proxy's log lets through, and how a line of JSON looks."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from fairway.proxy.document import Module
from fairway.proxy.logs import Chosen, JsonLines


def record(level: int, module: str = "sync", message: str = "a round") -> logging.LogRecord:
    return logging.LogRecord("fairway.proxy.sync", level, f"/src/{module}.py", 12, message, (), None)


@pytest.mark.parametrize(
    "verbosity, modules, level, expected",
    [
        (0, (), logging.INFO, True),
        (0, (), logging.DEBUG, False),
        (2, (), logging.DEBUG, True),
        (0, (Module(file_pattern="s*", verbosity=4),), logging.DEBUG, True),
        (2, (Module(file_pattern="sync", verbosity=0),), logging.DEBUG, False),
        (0, (Module(file_pattern="agent", verbosity=4),), logging.DEBUG, False),
    ],
)
def test_what_is_worth_a_line(verbosity: int, modules: tuple[Module, ...], level: int, expected: bool) -> None:
    assert Chosen(verbosity, modules).filter(record(level)) is expected


def test_a_line_of_json_says_when_where_and_what() -> None:
    line = JsonLines().format(record(logging.WARNING, message='quote " and newline \n'))
    assert "\n" not in line
    read = json.loads(line)
    assert read | {"ts": 0} == {
        "ts": 0,
        "caller": "fairway.proxy.sync/sync.py:12",
        "level": "warning",
        "msg": 'quote " and newline \n',
    }


def test_an_exception_is_part_of_its_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        one = record(logging.ERROR)
        one.exc_info = sys.exc_info()
    assert json.loads(JsonLines().format(one))["err"].endswith("ValueError: why")
