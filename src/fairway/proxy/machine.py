"""This machine, opened for the proxy: the kernel of its mode, flows, addresses.

Everything belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fairway.kernel.addresses import Addresses
from fairway.kernel.conntrack import Conntrack, Flow, Match
from fairway.kernel.contract import Opened, Unsuitable
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.rivals import rival_rules
from fairway.model.view import FrontendKey
from fairway.modes.registry import USERSPACE
from fairway.proxy.agent import Agent
from fairway.proxy.claim import Claim, Taken
from fairway.proxy.configuration import Configuration
from fairway.proxy.flows import Spot
from fairway.proxy.forgetting import TrackingFailed
from fairway.proxy.kernels import KERNELS, OURS_ALONE, open_mode
from fairway.proxy.relayed import RelaySide
from fairway.proxy.usage import Sources

T = TypeVar("T")


@dataclass(frozen=True)
class KernelTracking:
    """Connection tracking, for `Forgetting`."""

    conntrack: Conntrack

    def forget(self, spot: Spot) -> int:
        return _or_fail(lambda: self.conntrack.forget(_match(spot)))

    def flows(self, spot: Spot) -> list[Flow]:
        return _or_fail(lambda: self.conntrack.flows(_match(spot)))

    def delete(self, flows: Sequence[Flow]) -> int:
        return _or_fail(lambda: self.conntrack.delete(flows))


def _match(spot: Spot) -> Match:
    return Match(spot.protocol, spot.address, spot.port, *(spot.backend or ()))


@dataclass(frozen=True)
class Machine:
    """What a proxy needs of a machine."""

    opened: Opened
    conntrack: Conntrack
    addresses: Addresses
    relay: RelaySide
    usage: Sources | None = None

    def agent(self, configuration: Configuration) -> Agent[Any, Any, Any]:
        """A proxy for this machine; it must not outlive what it stands on."""
        agent: Agent[Any, Any, Any] = Agent(
            configuration,
            self.opened.mode,
            self.opened.kernel,
            tracking=KernelTracking(self.conntrack),
            addresses=self.addresses,
            relay=self.relay,
            usage=self.usage,
        )
        agent.metrics.follow(self.opened.figures)
        agent.ownership = self.opened.ownership
        return agent


@contextmanager
def open_machine(configuration: Configuration) -> Iterator[Machine]:
    """This thread's network namespace, for this process alone. Raises `Unsuitable`."""
    with ExitStack() as stack:
        stack.enter_context(_claimed())
        relay = RelaySide(configuration.access_log)
        opened = stack.enter_context(open_mode(configuration.mode, configuration.document, relay.make))
        usage = _sources(opened, stack) if configuration.service_metrics else None
        yield Machine(opened, stack.enter_context(Conntrack()), stack.enter_context(Addresses()), relay, usage)


def _sources(opened: Opened, stack: ExitStack) -> Sources:
    """Over sockets of their own, because another thread asks."""
    conntrack = stack.enter_context(Conntrack())

    def flows() -> Iterator[FrontendKey]:
        for one in _or_fail(lambda: [*conntrack.flows(Match("TCP")), *conntrack.flows(Match("UDP"))]):
            if (one.reply_source, one.reply_port) != (one.destination, one.port):
                yield FrontendKey(one.destination, one.protocol, one.port)

    return Sources(flows, opened.connections)


def clean_everything(configuration: Configuration) -> list[str]:
    """Remove what the configured mode made, and what none but us could have made in another; returns what it was.

    Raises `Unsuitable` when the mode cannot be looked into, and `ApplyFailed`.
    """
    with _claimed():
        with open_mode(configuration.mode, configuration.document) as opened:
            removed = opened.kernel.clean()
        return [one for one in (removed, *clean_other_modes(configuration)) if one]


def clean_other_modes(configuration: Configuration) -> list[str]:
    """Remove the rules that a mode before this one left, when they can only be ours; returns what it was.

    They would lead clients to the backends of that time. Call it when this mode's rules are there; raises
    `ApplyFailed`.
    """
    if configuration.mode in (OURS_ALONE, USERSPACE):
        return []
    try:
        with KERNELS[OURS_ALONE](configuration.document) as opened:
            removed = opened.kernel.clean()
    except Unsuitable:  # what a machine cannot do it does not hold either
        return []
    return [removed] if removed else []


def rivals(configuration: Configuration) -> list[str]:
    """What else here serves Services beside this mode's rules, as sentences; usually nothing.

    Chains named like kube-proxy's are the mode's own where the mode has such chains.
    """
    if configuration.mode not in (OURS_ALONE, USERSPACE):
        return []
    try:
        found = rival_rules()
    except (KernelRefused, OSError) as error:
        return [f"nobody knows whether rules of kube-proxy's are still here: {error}"]
    if not found:
        return []
    return [
        f"rules of kube-proxy's are still here and may serve clients in our place: {', '.join(found)}; "
        "`fairway cleanup --plan` shows what would go, `kube-proxy --cleanup` removes them as well"
    ]


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
        raise TrackingFailed(str(error)) from error
