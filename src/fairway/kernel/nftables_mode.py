"""The nftables mode's kernel, for the thread's network namespace: our table, and word of who else writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from fairway.kernel.contract import ApplyFailed, Chains, Figure, Opened, Ownership, Unsuitable
from fairway.kernel.features import nftables_features
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.nftables import Nftables
from fairway.kernel.nftables_watcher import Watcher
from fairway.kernel.sockets import holder
from fairway.model.view import FrontendKey
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.modes.nftables.tables import read_frontend

T = TypeVar("T")

_FAILURES = (KernelRefused, Interrupted, OSError)
_GREAT = 2000
"""Commands of a Plan for which nobody waits, and of which the kernel need not write notifications: it is asked
afterwards who else was there."""
_SWITCHED_OFF = "this proxy was told not to own them"
_TOO_OLD = "this kernel lets no table outlive its owner; Linux 6.9 and later do"
_NONE_YET = "there are none yet"


@dataclass
class NftablesKernel:
    """`kernel.contract.ModeKernel`. Counts commits: each of anybody's moves the ruleset on by one generation."""

    nftables: Nftables
    watcher: Watcher
    mode: NftablesMode
    """When its tables are persistent they are taken before they are read: then nobody else changes them any more."""
    _busy: bool = False
    """Whether another thread of ours is at it."""
    _generation: int | None = None
    """The one that there is, if nobody but us has committed anything since the last `read_back`."""
    at_once = _GREAT

    def read_back(self) -> Program:
        with self._at_work():
            if self.mode.persistent:
                _or_fail(self.nftables.take)
            self._generation = _or_fail(self.nftables.generation).number
            return replace(self.mode.empty(), base=_or_fail(self.nftables.read))

    def apply(self, plan: Plan) -> None:
        self._busy = True
        try:
            if len(plan) > _GREAT:
                with self.watcher.away():
                    self.nftables.apply(plan)
            else:
                self.nftables.apply(plan)
            if self._generation is not None:  # counted, not asked: it would be two system calls more a change
                self._generation = (self._generation + 1) & 0xFFFFFFFF or 1
        except _FAILURES as error:
            raise ApplyFailed(str(error)) from error
        finally:
            self._busy = False

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
        plan = self.mode.plan(self.read_back(), self.mode.empty())
        if not plan:
            return ""
        self.apply(plan)
        return f"{len(plan)} nftables tables"

    def load(self, plan: Plan) -> None:
        """A table of our own is in nobody's way: of two rules that translate a packet, the first one counts."""
        self.apply(plan)

    def chains(self, program: Program) -> Chains:
        return {}

    def stand_aside(self, needed: Chains) -> None:
        """What is refused is refused where it would be translated; both go together."""

    def retire(self, needed: Chains) -> None:
        """Connection tracking goes on translating what has begun."""
        self.clean()

    def settle(self) -> None:
        """There is nothing to do."""

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
def open_nftables(own: bool = True) -> Iterator[Opened]:
    """Raises `Unsuitable`. With ``own`` nobody else can change the tables until the block ends, if the kernel can."""
    # What both families lack is told once.
    if lacks := dict.fromkeys(feature.because for feature in nftables_features() if not feature.works):
        raise Unsuitable("\n".join(["this machine cannot do the nftables mode:", *lacks]))
    with ExitStack() as stack:
        nftables = stack.enter_context(Nftables())
        mode = NftablesMode(persistent=own and _or_fail(nftables.can_own))
        # The kernel's number for us, which is another one than os.getpid() in a container.
        watcher = Watcher(nftables.generation().process, deaf_to=nftables.port)
        stack.callback(watcher.close)
        # Sockets of their own, because other threads ask by them.
        counting, asking = (stack.enter_context(Nftables()) for _ in range(2))

        def connections() -> Mapping[FrontendKey, int]:
            found = _or_fail(lambda: list(counting.counters("frontends")))
            return {frontend: packets for _, key, packets in found if (frontend := read_frontend(key)) is not None}

        def ownership() -> Ownership:
            if mode.persistent:
                return _ownership(asking, nftables.port)
            return Ownership(False, _TOO_OLD if own else _SWITCHED_OFF)

        def figures() -> Iterator[Figure]:
            yield Figure(*_OWNED, {}, float(ownership().owned))

        yield Opened(mode, NftablesKernel(nftables, watcher, mode), connections, figures, ownership)


_OWNED = "fairway_proxy_tables_owned", "Whether the kernel lets nobody but this proxy change its nftables tables"


def _ownership(asking: Nftables, port: int) -> Ownership:
    found = _or_fail(asking.standings)
    if not found:
        return Ownership(False, _NONE_YET)
    others = {
        family: holder(one.owner) if one.owner else "nobody" for family, one in found.items() if one.owner != port
    }
    return Ownership(not others, ", ".join(f"table {family} belongs to {who}" for family, who in others.items()))


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except _FAILURES as error:
        raise ApplyFailed(str(error)) from error
