"""Changes that come at a pace and do not wait for each other: what share of a processor it takes to keep up."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fairway.bench.heard import Word
from fairway.bench.process import ProxyProcess
from fairway.bench.server import ListServer

_QUIET_SECONDS = 0.5
"""When the kernel has heard nothing for so long, the proxy is done."""


def sustain(server: ListServer, proxy: ProxyProcess, word: Word, events: Iterable[bytes], rate: int) -> dict[str, Any]:
    """Say so many events a second, whether the proxy keeps up or not; times in seconds.

    ``cpu_share`` is how much of one processor the proxy used; ``behind_seconds`` is from the last event to the last
    commit; ``commits`` are fewer than changes where the proxy merged some.
    """
    prepared = list(events)
    last, sent, before = 0.0, 0.0, word.commits
    cpu, start = proxy.cpu_seconds(), time.perf_counter()
    for number, event in enumerate(prepared):
        while (left := start + number / rate - time.perf_counter()) > 0:
            last = time.perf_counter() if word.anything(left) else last
        sent = server.send("endpointslices", event)
    while word.anything(_QUIET_SECONDS):
        last = time.perf_counter()
    took = max(last, sent) - start
    return {
        "changes_per_second": rate,
        "changes": len(prepared),
        "seconds": round(took, 3),
        "cpu_share": round((proxy.cpu_seconds() - cpu) / took, 3),
        "behind_seconds": round(max(0.0, last - sent), 6),
        "commits": word.commits - before,
    }
