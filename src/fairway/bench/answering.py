"""How fast any proxy makes Services answer, measured by connections: for proxies that say nothing of themselves.

    watch event ──▶ the proxy ──▶ the kernel ──▶ a client that knocks without pause hears something else

Of a change it is the time from the last byte of the event to the first connection that finds it done. The knocking
costs processor time of its own, so these figures compare proxies with each other; what a change of our own proxies
costs by itself `fairway.bench.programming` knows better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fairway.bench.path import TRY_SECONDS, Path, answers, laid
from fairway.bench.process import BenchFailed, Program
from fairway.bench.programming import percentiles
from fairway.bench.shape import PORT, Shape

Say = Callable[[str], None]
_CHANGE_SECONDS = 60.0


def measure(shape: Shape, changes: int, program: Program, say: Say) -> dict[str, Any]:
    """All that one run finds out; times in seconds. A change: one Service loses all its backends, or gets them back.

    Raises `BenchFailed`, ValueError when the Services have too many backends, OSError without the rights it needs.
    """
    toggles = shape.toggles(changes)
    say(f"{program}: until {shape.services} Services answer …")
    with laid(shape, program) as path:
        cold = path.wait_until_answering()
        cpu, rss = path.proxy.cpu_seconds(), path.proxy.rss_bytes()
        say(f"{changes} changes …")
        seconds = path.client.run(lambda: [_until_told(path, *one) for one in toggles])
        return {
            "proxy": str(program),
            "cold_seconds": round(cold, 3),
            "cold_cpu_seconds": round(cpu, 3),
            "change_seconds": percentiles(seconds),
            "cpu_seconds_per_change": round((path.proxy.cpu_seconds() - cpu) / changes, 6),
            "rss_bytes": rss,
        }


def _until_told(path: Path, number: int, back: bool, event: bytes) -> float:
    """Send one event and knock until a connection ends as it should; called inside the client's namespace."""
    address = path.shape.address(number)
    sent = path.api.send("endpointslices", event)
    while (begun := time.perf_counter()) - sent < _CHANGE_SECONDS:
        if answers(None, address, PORT) is back:
            ended = time.perf_counter()
            # Where nobody refuses, a client waits in silence: what counts is when it began to.
            return (begun if ended - begun >= TRY_SECONDS else ended) - sent
        path.proxy.check_alive()
    raise BenchFailed(
        f"Service {number} does not {'answer again' if back else 'stop answering'} after {_CHANGE_SECONDS:g} s; "
        f"the proxy said:\n{path.proxy.last_words()}"
    )
