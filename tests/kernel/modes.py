"""Which modes are proved on this machine's own kernel."""

from __future__ import annotations

from fairway.modes.registry import MODES

IN_A_GUEST = frozenset({"ipvs"})
"""Those that ordinary test machines have no kernel for: they are played in a guest (tests/vm)."""
HERE = sorted(MODES.keys() - IN_A_GUEST)
