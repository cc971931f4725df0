"""Unit tests of `fairway.modes.registry`: all modes by name, loaded when one is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairway.modes.registry import MODES


@pytest.mark.parametrize("name", MODES)
def test_a_mode_has_the_name_it_is_asked_for_by_and_is_made_once(name: str) -> None:
    assert MODES[name].name == name
    assert MODES[name] is MODES[name]


def test_a_name_that_is_none_is_not_there() -> None:
    assert "none" not in MODES
    with pytest.raises(KeyError):
        MODES["none"]


def test_a_proxy_of_one_mode_loads_no_other() -> None:
    program = """
import sys
import fairway.proxy.main
from fairway.modes.registry import MODES
MODES["nftables"]
print(sorted(one for one in sys.modules if one in ("fairway.modes.iptables.plan", "fairway.modes.ipvs.plan")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
