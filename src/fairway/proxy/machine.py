"""This machine's kernel, opened for the proxy: the rules, word of who else changes them, flows, addresses.

Everything belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from fairway.kernel.addresses import Addresses
from fairway.kernel.conntrack import Conntrack, Flow
from fairway.kernel.nftables import Watcher
from fairway.model.address import ANY
from fairway.model.view import NodeSettings
from fairway.proxy.agent import Agent
from fairway.proxy.claim import Claim, Taken
from fairway.proxy.configuration import Configuration
from fairway.proxy.flows import Suspect, stale
from fairway.proxy.kernels import MODE, NftablesKernel, Unsuitable, open_nftables, or_fail

__all__ = ["Machine", "Unsuitable", "open_machine"]

_MOST_QUESTIONS = 4


@dataclass(frozen=True)
class KernelFlows:
    """Connection tracking, for the loop."""

    conntrack: Conntrack

    def forget(self, found: Sequence[Suspect], settings: NodeSettings) -> int:
        return or_fail(lambda: self.conntrack.delete(stale(self._flows(found), found, settings)))

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

    kernel: NftablesKernel
    watcher: Watcher
    conntrack: Conntrack
    addresses: Addresses

    def agent(self, configuration: Configuration) -> Agent[Any, Any, Any]:
        """A proxy for this machine; it must not outlive what it stands on."""
        return Agent(
            configuration,
            MODE,
            self.kernel,
            flows=KernelFlows(self.conntrack),
            watch=KernelWatch(self.watcher, self.kernel),
            addresses=self.addresses,
        )

    def clean(self) -> int:
        """Remove our tables, nobody else's; returns how many there were."""
        plan = MODE.plan(self.kernel.read_back(), MODE.empty())
        if plan:
            self.kernel.apply(plan)
        return len(plan)


@contextmanager
def open_machine() -> Iterator[Machine]:
    """This thread's network namespace, for this process alone. Raises `Unsuitable`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(Claim())
        except Taken as error:
            raise Unsuitable(f"{error}; stop it first") from None
        kernel = stack.enter_context(open_nftables())
        # The kernel's number for us, which is another one than os.getpid() in a container.
        watcher = Watcher(kernel.nftables.generation().process, deaf_to=kernel.nftables.port)
        stack.callback(watcher.close)
        yield Machine(kernel, watcher, stack.enter_context(Conntrack()), stack.enter_context(Addresses()))
