"""Changes that come at a pace and do not wait for each other: what share of a processor it takes to keep up."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fairway.bench.process import ProxyProcess
from fairway.bench.server import ListServer
from fairway.kernel.nfnetlink import Netfilter
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_codec import NEW_GENERATION

_QUIET_SECONDS = 0.5
"""When the kernel has heard nothing for so long, the proxy is done."""


@dataclass
class _Commits:
    """When the kernel was last changed."""

    kernel: Netfilter
    last: float = 0.0

    def listen(self, seconds: float) -> bool:
        """Whether anything was heard within that time."""
        try:
            found = any(one.kind == NEW_GENERATION for one in self.kernel.notifications(seconds))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found = True  # there was more than the kernel keeps for us
        if found:
            self.last = time.perf_counter()
        return found


def sustain(
    server: ListServer, proxy: ProxyProcess, tables: Nftables, heard: Netfilter, events: Iterable[bytes], rate: int
) -> dict[str, Any]:
    """Say so many events a second, whether the proxy keeps up or not; times in seconds.

    ``cpu_share`` is how much of one processor the proxy used; ``behind_seconds`` is from the last event to the last
    commit; ``commits`` are fewer than changes where the proxy merged some.
    """
    prepared = list(events)
    commits, generation = _Commits(heard), tables.generation().number
    cpu, start = proxy.cpu_seconds(), time.perf_counter()
    for number, event in enumerate(prepared):
        while (left := start + number / rate - time.perf_counter()) > 0:
            commits.listen(left)
        server.send("endpointslices", event)
    sent = time.perf_counter()
    while commits.listen(_QUIET_SECONDS):
        pass
    took = max(commits.last, sent) - start
    return {
        "changes_per_second": rate,
        "changes": len(prepared),
        "seconds": round(took, 3),
        "cpu_share": round((proxy.cpu_seconds() - cpu) / took, 3),
        "behind_seconds": round(max(0.0, commits.last - sent), 6),
        "commits": tables.generation().number - generation,
    }
