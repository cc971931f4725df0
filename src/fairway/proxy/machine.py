"""This machine, opened for the proxy: the kernel of its mode, flows, addresses.

Everything belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fairway.kernel.addresses import Addresses
from fairway.kernel.conntrack import Conntrack, Flow
from fairway.kernel.contract import ApplyFailed, Opened, Unsuitable
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.model.address import ANY
from fairway.model.view import NodeSettings
from fairway.proxy.agent import Agent
from fairway.proxy.claim import Claim, Taken
from fairway.proxy.configuration import Configuration
from fairway.proxy.document import KubeProxyConfiguration
from fairway.proxy.flows import Suspect, stale
from fairway.proxy.kernels import KERNELS, open_mode

T = TypeVar("T")

_MOST_QUESTIONS = 4


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
class Machine:
    """What a proxy needs of a machine."""

    opened: Opened
    conntrack: Conntrack
    addresses: Addresses

    def agent(self, configuration: Configuration) -> Agent[Any, Any, Any]:
        """A proxy for this machine; it must not outlive what it stands on."""
        return Agent(
            configuration,
            self.opened.mode,
            self.opened.kernel,
            flows=KernelFlows(self.conntrack),
            addresses=self.addresses,
        )


@contextmanager
def open_machine(configuration: Configuration) -> Iterator[Machine]:
    """This thread's network namespace, for this process alone. Raises `Unsuitable`."""
    with ExitStack() as stack:
        stack.enter_context(_claimed())
        opened = stack.enter_context(open_mode(configuration.mode, configuration.document))
        yield Machine(opened, stack.enter_context(Conntrack()), stack.enter_context(Addresses()))


def clean_everything(document: KubeProxyConfiguration) -> list[str]:
    """Remove what is ours in every mode, nobody else's; returns what it was.

    Raises `Unsuitable` when no mode can be looked into, and `ApplyFailed`.
    """
    removed: list[str] = []
    closed: list[Unsuitable] = []
    with _claimed():
        for name in KERNELS:
            try:
                with open_mode(name, document) as opened:
                    removed.append(opened.kernel.clean())
            except Unsuitable as error:  # what a machine cannot do it does not hold either
                closed.append(error)
    if len(closed) == len(KERNELS):
        raise closed[0]
    return [one for one in removed if one]


@contextmanager
def _claimed() -> Iterator[None]:
    try:
        with Claim():
            yield
    except Taken as error:
        raise Unsuitable(f"{error}; stop it first") from None


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise ApplyFailed(str(error)) from error
