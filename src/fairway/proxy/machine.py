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


@dataclass(frozen=True)
class NftablesKernel:
    """nf_tables, for the loop."""

    nftables: Nftables

    def read_back(self) -> Program:
        return replace(MODE.empty(), base=_or_fail(self.nftables.read))

    def apply(self, plan: Plan) -> None:
        _or_fail(lambda: self.nftables.apply(plan))


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


@dataclass
class KernelWatch:
    """Who else changes what is ours."""

    watcher: Watcher

    def fileno(self) -> int:
        return self.watcher.fileno()

    def others(self) -> list[str]:
        found = [
            f"{one.generation.program or 'a process'} (pid {one.generation.process})" for one in self.watcher.wait(0)
        ]
        if self.watcher.lost:
            self.watcher.lost = False
            found.append("somebody, perhaps (more notifications than the kernel kept)")
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
        return Agent(
            configuration,
            MODE,
            NftablesKernel(self.nftables),
            flows=KernelFlows(self.conntrack),
            watch=KernelWatch(self.watcher),
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
            nftables = stack.enter_context(Nftables())
            # The kernel's number for us, which is another one than os.getpid() in a container.
            ours = nftables.generation().process
            watcher = Watcher(ours)
            stack.callback(watcher.close)
            conntrack = stack.enter_context(Conntrack())
            addresses = stack.enter_context(Addresses())
        except Taken as error:
            raise Unsuitable(f"{error}; stop it first") from None
        except (KernelRefused, OSError) as error:
            raise Unsuitable(
                f"this kernel's nf_tables cannot be used: {error}\n"
                "It takes root (or CAP_NET_ADMIN) and a kernel with nf_tables (try: modprobe nf_tables)."
            ) from None
        yield Machine(nftables, watcher, conntrack, addresses)


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise ApplyFailed(str(error)) from error
