"""The kernel of this machine, open for one mode, and for another one beside it while one follows the other.

    Target ──open──▶ carrier (opened once) ── with the one relay of this process ──▶ Opened
                     nftables ◀── userspace: the same rules of the kernel, written otherwise

Everything belongs to the network namespace of the thread that makes the `Site`, and of the threads that it starts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

from msgspec.structs import replace

from fairway.kernel.contract import Opened
from fairway.modes.contract import Mode
from fairway.modes.registry import RELAYING_MODES, USERSPACE
from fairway.modes.userspace import UserspaceMode
from fairway.proxy.document import KubeProxyConfiguration
from fairway.proxy.kernels import KERNELS
from fairway.relay.kernel import Relays, with_relay

_CARRIERS = {USERSPACE: "nftables"}


class Target(NamedTuple):
    """A mode; of iptables the variant, too: empty for the one in use."""

    mode: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.mode} ({self.variant})" if self.variant else self.mode

    @property
    def carrier(self) -> Target:
        """The mode whose rules these are."""
        return Target(_CARRIERS.get(self.mode, self.mode), self.variant)

    def is_met_by(self, other: Target) -> bool:
        """Whether that is what is wanted; without a variant any will do."""
        return self.mode == other.mode and self.variant in ("", other.variant)

    @property
    def relays(self) -> bool:
        return self.mode in RELAYING_MODES


def target_of(document: KubeProxyConfiguration, mode: str) -> Target:
    """What the configuration says."""
    return Target(mode, document.iptables.variant if mode == "iptables" else "")


class Site(AbstractContextManager["Site"]):
    """Opens modes on this machine; whatever is still open is closed at the end of the ``with`` block, and the relay is
    released."""

    def __init__(self, document: KubeProxyConfiguration, relay: Relays) -> None:
        self._document, self._relay = document, relay
        self._open: dict[Target, tuple[ExitStack, Opened]] = {}

    def __exit__(self, *error: object) -> None:
        try:
            for target in list(self._open):
                self.close(target)
        finally:
            self._relay.release()

    def open(self, target: Target) -> tuple[Target, Opened]:
        """The mode, and its target with the variant that it has. Raises `Unsuitable`."""
        with ExitStack() as stack:
            carrier = target.carrier
            if carrier not in self._open:
                iptables = replace(self._document.iptables, variant=carrier.variant)
                document = replace(self._document, iptables=iptables)
                found = stack.enter_context(KERNELS[carrier.mode](document))
                carrier = carrier._replace(variant=found.variant)
                if carrier not in self._open:
                    self._open[carrier] = (stack.pop_all(), found)
        stack_of_carrier, found = self._open[carrier]
        opened, kernel = with_relay(found, target.mode, self._relay)
        stack_of_carrier.callback(kernel.close)
        return target._replace(variant=found.variant), opened

    def rehearsal(self, target: Target) -> Mode[Any, Any, Any]:
        """An open mode as it is here, for Programs that nobody is to load: its relay has no listeners."""
        return UserspaceMode(self._open[target.carrier][1].mode, target.mode)

    def close(self, target: Target) -> None:
        """Nobody uses it any more; its rules stay as they are."""
        if found := self._open.pop(target.carrier, None):
            found[0].close()
