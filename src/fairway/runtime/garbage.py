"""The garbage collector of a server: rare, when nobody waits for it, and not about what is there to stay.

load ──keep──▶ never looked at again
later ──────▶ young ──quiet, and many──▶ looked at ──many looks later──▶ looked at once more, with all since `keep`
                └──never quiet, and very many──▶ looked at amid the work, as Python does by itself
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from fairway.runtime.clock import Clock

# Containers made before the youngest are looked at, and how many such looks before the older ones are. Python's own
# 700 are a handful of requests, whose objects go by themselves: nearly all of the looking finds nothing.
_SERVER = 10_000, 20, 50
# Where there are quiet moments this is for a storm without any. Each second look is at what is left of both, so that it
# takes milliseconds; all is looked at as rarely as in a server.
_NEVER_QUIET = 5_000, 1, 1_000

_LOAD_SECONDS = 60.0
"""A load that takes longer does not come: who tries again and again (a server is away) leaves garbage with each try."""
_EACH_SECONDS = 0.2
_QUIET_SECONDS = 0.002
_WORTH_A_LOOK = 1_000
_LOOKS_AT_YOUNG = 500
"""All that was made since the load is looked at so rarely because that may take a tenth of a second."""


def settle() -> None:
    """Call it once a process that lives long has loaded what it needs: that is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_SERVER)


def keep() -> None:
    """`settle` for a process that loaded with the collector off, has no time now, and will `look_when_quiet`."""
    gc.freeze()
    gc.set_threshold(*_NEVER_QUIET)
    gc.enable()


async def look_after(loaded: asyncio.Event, happened: Callable[[], int], clock: Clock) -> None:
    """`look_when_quiet` from the end of the load on; if that does not come, as Python does by itself."""
    late = asyncio.create_task(_late(clock))
    try:
        await loaded.wait()
    finally:
        late.cancel()
    await look_when_quiet(happened, clock)


async def _late(clock: Clock) -> None:
    await clock.sleep(_LOAD_SECONDS)
    gc.enable()


async def look_when_quiet(happened: Callable[[], int], clock: Clock) -> None:
    """Look for garbage while nothing happens (``happened`` counts what does), from now on until cancelled."""
    looks = 0
    while True:
        await clock.sleep(_EACH_SECONDS)
        # Not by the collector's own count: that of a new object in the place of one that is never looked at is zero.
        if len(gc.get_objects(generation=0)) < _WORTH_A_LOOK:
            continue
        before = happened()
        await clock.sleep(_QUIET_SECONDS)
        if happened() == before:
            looks += 1
            # The younger generation each time, so that nothing is looked at twice until everything is.
            gc.collect(2 if looks % _LOOKS_AT_YOUNG == 0 else 1)
