"""Every mode that can be named can be opened."""

from __future__ import annotations

from fairway.modes.registry import MODES
from fairway.proxy.kernels import KERNELS


def test_every_mode_has_a_kernel() -> None:
    assert KERNELS.keys() == MODES.keys()
