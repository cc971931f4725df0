"""What tests in a guest have in common."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairway.lab.vm.kind import INSIDE
from fairway.lab.vm.uml import MODULES


@pytest.fixture(scope="session", autouse=True)
def no_modules_on_demand() -> None:
    """In User-Mode Linux, where the modules that tests need are loaded at the start.

    Whoever looks at a legacy table makes Debian's kernel look for a module that there is not, bpfilter, with a process
    of its own for each look. Without that the tests are twice as fast.
    """
    if os.environ.get(INSIDE) and (MODULES / os.uname().release).is_dir():
        Path("/proc/sys/kernel/modprobe").write_text("\n")
