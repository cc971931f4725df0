"""Tests that run in a guest, and whose results are results of the run that started it.

    @pytest.mark.vm
    def test_the_kernel_takes_a_virtual_server(): ...

    pytest ──starts──▶ guest ── pytest of just these tests
      ▲                             │ one line on the console for each report
      └──── as its own reports ─────┘

One guest is started for all such tests of a session, when the first of them is due. Where it cannot be started they are
skipped, with what to install.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from fairway.lab.vm.guest import SHARED, Guest, GuestError, Job, missing, started
from fairway.modes.ipvs.parts import SCHEDULERS

MARKER = "vm"
_INSIDE = "FAIRWAY_IN_GUEST"
_TESTS = "tests.json"
_REPORT = "\x1freport "
_PATIENCE = 600.0
"""Seconds for all tests of a guest; each of them has the usual limit in there."""
_KEPT_VARIABLES = ("HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
_MODULES = (
    *("ipv6", "bridge", "br_netfilter", "veth", "dummy", "hmac", "sctp", "nf_conntrack_netlink", "ip_vs"),
    *(f"ip_vs_{name}" for name in SCHEDULERS),
    *(f"ip_set_{name}" for name in ("hash_ip", "hash_ipport", "hash_ipportip", "hash_ipportnet", "bitmap_port")),
    *("iptable_nat", "iptable_filter", "iptable_mangle", "ip6table_nat", "ip6table_filter", "ip6table_mangle"),
    *("ipt_REJECT", "ip6t_REJECT"),
    *(f"xt_{name}" for name in ("set", "comment", "mark", "addrtype", "conntrack", "physdev", "MASQUERADE", "ipvs")),
)
_guest = pytest.StashKey["_Tests"]()


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(_INSIDE):
        config.pluginmanager.register(_Teller(config), "guest-teller")
    else:
        config.stash[_guest] = _Tests(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _guest in config.stash:
        config.stash[_guest].close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Instead of running the test, take over what came of it in the guest."""
    if item.get_closest_marker(MARKER) is None or _guest not in item.config.stash:
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in item.config.stash[_guest].reports(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the test before this one has set up for its module would otherwise be found in the way of the next one.
    item.session._setupstate.teardown_exact(nextitem)
    return True


class _Tests:
    """The guest of this session, seen from outside."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._lines: Iterator[str] | None = None
        self._failed = ""
        self._waiting: dict[str, list[Any]] = {}

    def close(self) -> None:
        self._stack.close()

    def reports(self, item: pytest.Item) -> Iterator[Any]:
        """The reports of one test, in their order."""
        if reason := missing():
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
        ids = [one.nodeid for one in session.items if one.get_closest_marker(MARKER)]
        files = sorted({str(one.path) for one in session.items if one.get_closest_marker(MARKER)})
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        job = Job(
            argv=[
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                str(session.path),
                *files,
            ],
            directory=self._config.invocation_params.dir,
            environment={**kept, _INSIDE: "1", "PYTHONDONTWRITEBYTECODE": "1"},
            modules=_MODULES,
            files={_TESTS: json.dumps(ids)},
        )
        return self._stack.enter_context(started(job))

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
    return pytest.TestReport(item.nodeid, item.location, {MARKER: 1}, outcome, words, "setup")


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
