"""A tool that stops where a test wants it to: whoever is killed then is killed in the middle, however fast it is.

proxy ──starts──▶ the script ──starts──▶ the real tool
                      │
                      ╰─ where there is a gate: tells that it stands there, and waits until it is let through
"""

from __future__ import annotations

import os
import select
import shutil
from pathlib import Path

import pytest

from tests.kernel.proxy_world import PATIENCE

TOOL = "iptables-nft-restore"
# Who is killed before the last word has said nothing: so it stops only when it has been told all.
_BEFORE = 'cat > {told}; echo here > {begun}; read -r word < {gate}; exec {real} "$@" < {told}'
_AFTER = '{real} "$@"; code=$?; echo here > {begun}; read -r word < {gate}; exit $code'
_SCRIPT = """#!/bin/sh
case "$*" in
*--test*|*--version*) ;;  # who only asks writes nothing
*) if [ -e {gate} ]; then {stop}; fi ;;
esac
exec {real} "$@"
"""


class Gate:
    """Before the tool has written anything, or ``after`` it; found first by whoever looks for the tool."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> None:
        tools = directory / "tools"
        tools.mkdir()
        self._gate, self._begun = directory / "gate", directory / "begun"
        places = {"gate": self._gate, "begun": self._begun, "told": directory / "told", "real": shutil.which(TOOL)}
        script = tools / TOOL
        script.write_text(_SCRIPT.format(stop=(_AFTER if after else _BEFORE).format(**places), **places))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def close(self) -> None:
        """From now on."""
        for one in (self._begun, self._gate):
            if not one.exists():
                os.mkfifo(one)

    def wait(self) -> None:
        """Until the tool stands at it."""
        begun = os.open(self._begun, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert select.select([begun], [], [], PATIENCE)[0], "the tool was not started"
        finally:
            os.close(begun)

    def let_one_through(self) -> None:
        """The one that stands there."""
        with self._gate.open("w") as waiting:
            waiting.write("go\n")

    def open(self) -> None:
        """For the one that stands there, and for all who come."""
        with self._gate.open("w") as waiting:
            self._gate.unlink()
            waiting.write("go\n")
