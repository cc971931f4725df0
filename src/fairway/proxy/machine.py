"""This machine, opened for the proxy: the kernel of its mode, flows, addresses.

Everything belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from fairway.kernel.addresses import Addresses
from fairway.kernel.conntrack import Conntrack, Flow, Match
from fairway.kernel.contract import Opened, Unsuitable
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.rivals import rival_rules
from fairway.kernel.writing import wait_for_writers
from fairway.model.view import FrontendKey
from fairway.modes.registry import USERSPACE
from fairway.proxy.agent import Agent
from fairway.proxy.choice import ChoiceFile
from fairway.proxy.claim import Claim, Taken
from fairway.proxy.configuration import Configuration
from fairway.proxy.flows import Spot
from fairway.proxy.forgetting import TrackingFailed
from fairway.proxy.kernels import OURS_ALONE
from fairway.proxy.relayed import RelaySide
from fairway.proxy.site import Site, target_of
from fairway.proxy.start import Start, begin
from fairway.proxy.usage import Sources
from fairway.relay.kernel import add_addresses

log = logging.getLogger(__name__)
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
    """What a proxy needs of a machine. ``configuration`` says what its user wants, ``start`` what it is in."""

    configuration: Configuration
    claim: Claim
    start: Start
    conntrack: Conntrack
    addresses: Addresses
    relay: RelaySide
    usage: Sources | None = None

    def agent(self) -> Agent:
        """A proxy for this machine; it must not outlive what it stands on."""
        return Agent(
            self.configuration,
            self.start,
            self.claim,
            tracking=KernelTracking(self.conntrack),
            addresses=self.addresses,
            relay=self.relay,
            usage=self.usage,
        )


@contextmanager
def open_machine(configuration: Configuration, choice: Path | None = None) -> Iterator[Machine]:
    """This thread's network namespace, for this process alone. ``choice`` is the file of `Choice`.

    Raises `Unsuitable`.
    """
    with ExitStack() as stack:
        claim = stack.enter_context(_claimed())
        _wait_for_writers()
        relay = RelaySide(configuration.access_log)
        site = stack.enter_context(Site(configuration.document, relay.make(add_addresses)))
        start = begin(site, ChoiceFile(choice), target_of(configuration.document, configuration.mode))
        usage = _sources(start.opened, stack) if configuration.service_metrics else None
        conntrack, addresses = stack.enter_context(Conntrack()), stack.enter_context(Addresses())
        yield Machine(configuration, claim, start, conntrack, addresses, relay, usage)


def _sources(opened: Opened, stack: ExitStack) -> Sources:
    """Over sockets of their own, because another thread asks."""
    conntrack = stack.enter_context(Conntrack())

    def flows() -> Iterator[FrontendKey]:
        for one in _or_fail(lambda: [*conntrack.flows(Match("TCP")), *conntrack.flows(Match("UDP"))]):
            if (one.reply_source, one.reply_port) != (one.destination, one.port):
                yield FrontendKey(one.destination, one.protocol, one.port)

    return Sources(flows, opened.connections)


def rivals(mode: str, leaving: Iterable[str] = ()) -> list[str]:
    """What else here serves Services beside this mode's rules, as sentences; usually nothing.

    Chains named like kube-proxy's are the mode's own where it has such chains, or a mode has that is still being left.
    """
    if not {mode, *leaving} <= {OURS_ALONE, USERSPACE}:
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
def _claimed() -> Iterator[Claim]:
    try:
        with Claim() as claim:
            yield claim
    except Taken as error:
        raise Unsuitable(f"{error}; stop it first") from None


def _wait_for_writers() -> None:
    """A proxy before may have been killed while a tool wrote for it."""
    try:
        with _interruptible():
            wait_for_writers(partial(log.warning, "%s"))
    except TimeoutError as error:
        raise Unsuitable(str(error)) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends what goes on here; asyncio's own handler only asks a task to end when it waits for something else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise TrackingFailed(str(error)) from error
