"""The nftables mode's kernel, for the thread's network namespace: our table, and word of who else writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from fairway.kernel.contract import ApplyFailed, Opened, Unsuitable
from fairway.kernel.features import nftables_features
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.nftables import Nftables, Watcher
from fairway.model.view import FrontendKey
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.modes.nftables.tables import read_frontend

T = TypeVar("T")

MODE = NftablesMode()
_GREAT = 2000
"""Commands of a Plan of which the kernel need not write notifications: it is asked afterwards who else was there."""


@dataclass
class NftablesKernel:
    """`kernel.contract.ModeKernel`. Counts commits: each of anybody's moves the ruleset on by one generation."""

    nftables: Nftables
    watcher: Watcher
    _busy: bool = False
    """Whether another thread of ours is at it."""
    _generation: int | None = None
    """The one that there is, if nobody but us has committed anything since the last `read_back`."""
    is_slow = False

    def read_back(self) -> Program:
        with self._at_work():
            self._generation = _or_fail(self.nftables.generation).number
            return replace(MODE.empty(), base=_or_fail(self.nftables.read))

    def apply(self, plan: Plan) -> None:
        with self._at_work(), self.watcher.away() if len(plan) > _GREAT else nullcontext():
            _or_fail(lambda: self.nftables.apply(plan))
            if self._generation is not None:  # counted, not asked: it would be two system calls more a change
                self._generation = (self._generation + 1) & 0xFFFFFFFF or 1

    def check(self, plan: Plan) -> None:
        with self._at_work():
            _or_fail(lambda: self.nftables.check(plan))

    def fileno(self) -> int:
        return self.watcher.fileno()

    def others(self) -> list[str]:
        changes = (one.generation for one in self.watcher.wait(0))
        found = [f"{one.program or 'a process'} (pid {one.process})" for one in changes]
        # While we are at it nobody can say whose changes were lost: asked again when the round is done.
        if self.watcher.lost and not self._busy:
            # During a great change of our own nobody listens; and the kernel keeps only so many notifications for us.
            self.watcher.lost = False
            if not self._undisturbed():
                found.append("somebody, who was not heard")
        return found

    def clean(self) -> str:
        plan = MODE.plan(self.read_back(), MODE.empty())
        if not plan:
            return ""
        self.apply(plan)
        return f"{len(plan)} nftables tables"

    def _undisturbed(self) -> bool:
        """Whether nobody but us has committed anything since the last `read_back`."""
        return _or_fail(self.nftables.generation).number == self._generation

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


@contextmanager
def open_nftables() -> Iterator[Opened]:
    """Raises `Unsuitable`."""
    if lacks := [feature.because for feature in nftables_features() if not feature.works]:
        raise Unsuitable("\n".join(["this machine cannot do the nftables mode:", *lacks]))
    with ExitStack() as stack:
        nftables = stack.enter_context(Nftables())
        # The kernel's number for us, which is another one than os.getpid() in a container.
        watcher = Watcher(nftables.generation().process, deaf_to=nftables.port)
        stack.callback(watcher.close)
        counting = stack.enter_context(Nftables())  # a socket of its own, because another thread asks by it

        def connections() -> Mapping[FrontendKey, int]:
            found = _or_fail(lambda: list(counting.counters("frontends")))
            return {frontend: packets for _, key, packets in found if (frontend := read_frontend(key)) is not None}

        yield Opened(MODE, NftablesKernel(nftables, watcher), connections)


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise ApplyFailed(str(error)) from error
