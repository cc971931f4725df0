"""Who measures and who is measured, each with processors of their own.

A scheduler wakes whoever is written to on the writer's processor, where it can: the writer is about to sleep. The bench
is not, and would hear the answer when the proxy sleeps again, some hundred microseconds after the kernel has said it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def apart(process: int) -> Iterator[bool]:
    """This thread has one processor, every thread of the other process and those that they start have the others.

    Says whether that can be: where there is one processor for both, nothing is done. Only this thread is let go in the
    end. Raises ProcessLookupError when the other one has ended.
    """
    processors = os.sched_getaffinity(0)
    ours = {max(processors)}
    if processors == ours:
        yield False
        return
    os.sched_setaffinity(process, processors - ours)
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):  # it had nothing to do any more
            os.sched_setaffinity(int(thread.name), processors - ours)
    os.sched_setaffinity(0, ours)
    try:
        yield True
    finally:
        os.sched_setaffinity(0, processors)
