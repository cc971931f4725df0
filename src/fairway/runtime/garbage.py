"""The garbage collector of a server: rare, and not about what is there to stay."""

from __future__ import annotations

import gc

# Containers made before the youngest are looked at, and how many such looks before the older ones are. Python's own
# 700 are a handful of requests, whose objects go by themselves: nearly all of the looking finds nothing.
_YOUNGEST, _YOUNGER, _ALL = 10_000, 20, 50


def settle() -> None:
    """Call it once a process that lives long has loaded what it needs: that is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, _YOUNGER, _ALL)
