"""Every storage implementation, so that one set of tests holds for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.apiserver.storage.contract import Storage
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    opened: Storage = MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "state.db")
    yield opened
    opened.close()
