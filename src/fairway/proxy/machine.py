"""This machine's kernel, opened for the proxy: the rules, word of who else changes them, flows, addresses.

Everything belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fairway.kernel.addresses import Addresses
from fairway.kernel.conntrack import Conntrack, Flow
from fairway.kernel.features import nftables_features
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.nftables import Nftables, Watcher
from fairway.model.address import ANY
from fairway.model.view import NodeSettings
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.proxy.agent import Agent
from fairway.proxy.claim import Claim, Taken
from fairway.proxy.configuration import Configuration
from fairway.proxy.flows import Suspect, stale
from fairway.proxy.sync import ApplyFailed

T = TypeVar("T")

MODE = NftablesMode()
_MOST_QUESTIONS = 4


class Unsuitable(Exception):
    """This machine, or this user, cannot do it; the message says what helps."""


@dataclass
class NftablesKernel:
    """nf_tables, for the loop. Counts commits: each of anybody's moves the ruleset on by one generation."""

    nftables: Nftables
    busy: bool = False
    """Whether another thread of ours is at it."""
    _generation: int | None = None
    """The one that we know nobody else's commit lies before; None when somebody's may."""

    def read_back(self) -> Program:
        with self._at_work():
            self._generation = _or_fail(self.nftables.generation).number
            return replace(MODE.empty(), base=_or_fail(self.nftables.read))

    def apply(self, plan: Plan) -> None:
        with self._at_work():
            _or_fail(lambda: self.nftables.apply(plan))
            now = _or_fail(self.nftables.generation).number
            self._generation = now if self._generation is not None and now == self._generation + 1 else None

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def check(self, plan: Plan) -> None:
        with self._at_work():
            _or_fail(lambda: self.nftables.check(plan))

    def undisturbed(self) -> bool:
        """Whether nobody but us has committed anything since the last `read_back`."""
        return _or_fail(self.nftables.generation).number == self._generation


@dataclass(frozen=True)
class KernelFlows:
    """Connection tracking, for the loop."""

    conntrack: Conntrack

    def forget(self, found: Sequence[Suspect], settings: NodeSettings) -> int:
        return _or_fail(lambda: self.conntrack.delete(stale(self._flows(found), found, settings)))

    def _flows(self, found: Sequence[Suspect]) -> list[Flow]:
        """Asked for one by one as long as that is cheaper than reading the whole table."""
        keys = [one.frontend for one in found]
        if len(keys) > _MOST_QUESTIONS or any(key.address in ANY.values() for key in keys):
            return self.conntrack.flows("UDP")
        return [flow for key in keys for flow in self.conntrack.flows("UDP", key.address, key.port)]


@dataclass(frozen=True)
class KernelWatch:
    """Who else changes what is ours."""

    watcher: Watcher
    kernel: NftablesKernel

    def fileno(self) -> int:
        return self.watcher.fileno()

    def others(self) -> list[str]:
        changes = (one.generation for one in self.watcher.wait(0))
        found = [f"{one.program or 'a process'} (pid {one.process})" for one in changes]
        # While we are at it nobody can say whose changes were lost: asked again when the round is done.
        if self.watcher.lost and not self.kernel.busy:
            # A great change of our own brings more notifications than the kernel keeps for us.
            self.watcher.lost = False
            if not self.kernel.undisturbed():
                found.append("somebody, perhaps (the kernel had more to tell than it keeps)")
        return found


@dataclass(frozen=True)
class Machine:
    """What a proxy needs of a machine."""

    nftables: Nftables
    watcher: Watcher
    conntrack: Conntrack
    addresses: Addresses

    def agent(self, configuration: Configuration) -> Agent[Any, Any, Any]:
        """A proxy for this machine; it must not outlive what it stands on."""
        kernel = NftablesKernel(self.nftables)
        return Agent(
            configuration,
            MODE,
            kernel,
            flows=KernelFlows(self.conntrack),
            watch=KernelWatch(self.watcher, kernel),
            addresses=self.addresses,
        )

    def clean(self) -> int:
        """Remove our tables, nobody else's; returns how many there were."""
        kernel = NftablesKernel(self.nftables)
        plan = MODE.plan(kernel.read_back(), MODE.empty())
        if plan:
            kernel.apply(plan)
        return len(plan)


@contextmanager
def open_machine() -> Iterator[Machine]:
    """This thread's network namespace, for this process alone. Raises `Unsuitable`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(Claim())
        except Taken as error:
            raise Unsuitable(f"{error}; stop it first") from None
        if lacks := [feature.because for feature in nftables_features() if not feature.works]:
            raise Unsuitable("\n".join(["this machine cannot do the nftables mode:", *lacks]))
        nftables = stack.enter_context(Nftables())
        # The kernel's number for us, which is another one than os.getpid() in a container.
        watcher = Watcher(nftables.generation().process, deaf_to=nftables.port)
        stack.callback(watcher.close)
        yield Machine(nftables, watcher, stack.enter_context(Conntrack()), stack.enter_context(Addresses()))


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise ApplyFailed(str(error)) from error
