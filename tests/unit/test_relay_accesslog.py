"""Unit tests of `fairway.relay.accesslog`: lines in a file, also when somebody moves it away."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from fairway.relay.accesslog import AccessLog, Line

LINE = Line(time="now", service="shop/web", frontend="10.96.0.1:80/TCP", protocol="TCP", client="192.0.2.1:4711")


def test_a_line_is_json_with_every_field(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"), lambda _: None)
    log.add(LINE)
    log.add(LINE)
    log.close()
    first, second = (json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines())
    assert first == second
    assert first["connectSeconds"] == 0
    assert set(first) == {field.encode_name for field in msgspec.structs.fields(Line)}


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), lambda _: None)
    for number in range(2):
        log.add(LINE)
        log.flush()
        path.rename(tmp_path / f"access.log.{number}")
    log.close()
    assert (tmp_path / "access.log.0").read_text() == (tmp_path / "access.log.1").read_text() != ""


def test_a_disk_that_cannot_be_written_is_said_once_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    log = AccessLog(str(tmp_path / "nowhere" / "access.log"), said.append)
    for _ in range(3):
        log.add(LINE)
    log.close()
    assert log.lost == 3
    assert len(said) == 1
    assert "No such file or directory" in said[0]
