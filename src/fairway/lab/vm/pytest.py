"""Tests that run in a guest, and whose results are results of the run that started it.

    @pytest.mark.vm                                             # in User-Mode Linux; pytest.mark.qemu: under QEMU
    def test_the_kernel_takes_a_virtual_server(): ...

    pytest ──starts──▶ guest ── pytest of just these tests
      ▲                             │ one line on the console for each report
      └──── as its own reports ─────┘

One guest of each kind is started for all such tests of a session, when the first of them is due. Where it cannot be
started they are skipped, with what to install. The ini option ``guest_plugins`` names the plugins that they need: to
import all that are installed takes a while on an emulated processor.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from fairway.lab.vm.guest import SHARED, Guest, started
from fairway.lab.vm.kind import INSIDE, GuestError, Job, Kind
from fairway.lab.vm.kinds import QEMU, UML

MARKERS: Mapping[str, Kind] = {"vm": UML, "qemu": QEMU}
_PLUGINS = "guest_plugins"
_TESTS = "tests.json"
_REPORT = "\x1freport "
_PATIENCE = 1800.0
"""Seconds for all tests of a guest; each of them has the usual limit in there."""
_KEPT_VARIABLES = ("HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
_guests = pytest.StashKey["dict[str, _Tests]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(_PLUGINS, "plugins that tests in guests need; default: all that are installed", "args", [])


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(INSIDE):
        config.pluginmanager.register(_Teller(config), "guest-teller")
    else:
        config.stash[_guests] = {marker: _Tests(config, marker) for marker in MARKERS}


def pytest_unconfigure(config: pytest.Config) -> None:
    for guest in config.stash.get(_guests, {}).values():
        guest.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The limit of each test is kept in the guest. Outside, it would have to do for the guest's start, too."""
    if _guests in config.stash and config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if _marker(item):
                item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Instead of running the test, take over what came of it in the guest."""
    marker = _marker(item)
    if not marker or _guests not in item.config.stash:
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in item.config.stash[_guests][marker].reports(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the test before this one has set up for its module would otherwise be found in the way of the next one.
    item.session._setupstate.teardown_exact(nextitem)
    return True


def _marker(item: pytest.Item) -> str:
    """Which kind of guest the test runs in, by its marker; empty: in none."""
    return next((one for one in MARKERS if item.get_closest_marker(one)), "")


class _Tests:
    """A guest of this session, seen from outside."""

    def __init__(self, config: pytest.Config, marker: str) -> None:
        self._config = config
        self._marker, self._kind = marker, MARKERS[marker]
        self._stack = ExitStack()
        self._lines: Iterator[str] | None = None
        self._failed = ""
        self._waiting: dict[str, list[Any]] = {}

    def close(self) -> None:
        self._stack.close()

    def reports(self, item: pytest.Item) -> Iterator[Any]:
        """The reports of one test, in their order."""
        if reason := self._kind.missing():
            yield _verdict(item, "skipped", (str(item.path), item.location[1] or 0, f"Skipped: {reason}"))
            return
        try:
            yield from self._told(item)
        except GuestError as error:
            self._failed = self._failed or str(error)
            yield _verdict(item, "failed", self._failed)

    def _told(self, item: pytest.Item) -> Iterator[Any]:
        if self._failed:
            raise GuestError(self._failed)
        if self._lines is None:
            self._guest = self._start(item.session)
            self._lines = self._guest.lines(_PATIENCE)
        while True:
            reports = self._waiting.setdefault(item.nodeid, [])
            while reports:
                report = reports.pop(0)
                yield report
                if report.when == "teardown":
                    return
            self._read(self._lines)

    def _start(self, session: pytest.Session) -> Guest:
        items = [one for one in session.items if _marker(one) == self._marker]
        files = sorted({str(one.path) for one in items})
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        plugins = self._config.getini(_PLUGINS)
        options = ["-q", "--rootdir", str(session.path)]
        options += [word for name in ("no:cacheprovider", *plugins) for word in ("-p", name)]
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} if plugins else {}
        job = Job(
            argv=[sys.executable, "-m", "pytest", *options, *files],
            directory=self._config.invocation_params.dir,
            environment={**kept, **alone, "PYTHONDONTWRITEBYTECODE": "1"},
            modules=self._kind.modules,
            files={_TESTS: json.dumps([one.nodeid for one in items])},
        )
        return self._stack.enter_context(started(job, self._kind))

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            _, mark, text = line.partition(_REPORT)
            if mark:
                report = self._config.hook.pytest_report_from_serializable(config=self._config, data=json.loads(text))
                if isinstance(report.longrepr, list):  # a skip's place and reason, which JSON knows no tuple for
                    report.longrepr = tuple(report.longrepr)
                self._waiting.setdefault(report.nodeid, []).append(report)
                return
        raise GuestError(f"the tests in the guest ended before this one's turn{self._guest.told()}")


def _verdict(item: pytest.Item, outcome: Any, words: Any) -> pytest.TestReport:
    """A report on a test that did not run."""
    return pytest.TestReport(item.nodeid, item.location, {_marker(item): 1}, outcome, words, "setup")


class _Teller:
    """The session in the guest: runs what was asked for, in that order, and tells each report."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)  # pytest captures what others have open

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        place = {name: index for index, name in enumerate(json.loads((SHARED / _TESTS).read_text()))}
        items[:] = sorted((one for one in items if one.nodeid in place), key=lambda one: place[one.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        os.write(self._console, f"{_REPORT}{json.dumps(data)}\n".encode())
