"""A mode's kernel with a relay beside it: `fairway.kernel.contract.ModeKernel` for the userspace mode's Programs."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fairway.kernel.contract import ApplyFailed, ModeKernel, Opened
from fairway.kernel.links import LinkError, Links
from fairway.modes.userspace import ListenerKey, Program, UserspaceMode, UserspacePlan
from fairway.modes.userspace.program import ADDRESSES
from fairway.relay.relay import Relay

LOOPBACK = "lo"
_INTERFACES = {family: f"{address}/{128 if ':' in address else 32}" for family, address in ADDRESSES.items()}


class RelayingKernel:
    """The carrier's kernel, and a relay in the namespace of the thread that makes this."""

    def __init__(self, carrier: ModeKernel[Any, Any], relay: Relay) -> None:
        self._carrier = carrier
        self.relay = relay

    def port(self, key: ListenerKey) -> int:
        """Where a listener is, made on the spot if need be; raises `ApplyFailed`."""
        try:
            return self.relay.reserve(key)
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def read_back(self) -> Program:
        """The relay is this process's own: what it did before it was started anew is gone."""
        return Program(self._carrier.read_back(), self.relay.held())

    def apply(self, plan: UserspacePlan) -> None:
        """Clients are led to a listener when it is bound, and it takes them up as soon as the rules are there."""
        if plan.carried:
            self._carrier.apply(plan.carried)
        self.relay.put(plan.listen)
        self.relay.close(plan.close)

    def check(self, plan: UserspacePlan) -> None:
        self._carrier.check(plan.carried)

    def fileno(self) -> int:
        return self._carrier.fileno()

    def others(self) -> list[str]:
        return self._carrier.others()

    def clean(self) -> str:
        found = [self._carrier.clean(), remove_addresses()]
        return ", ".join(one for one in found if one)


@contextmanager
def relaying(carrier: Opened, name: str, relay: Relay) -> Iterator[Opened]:
    """The mode of ``carrier`` with a relay for the Services that ask for one; it stops when the block ends."""
    kernel = RelayingKernel(carrier.kernel, relay)
    try:
        yield Opened(UserspaceMode(carrier.mode, name, kernel.port), kernel, carrier.connections, carrier.figures)
    finally:
        relay.stop()


def add_addresses() -> None:
    """The listeners' addresses on the loopback interface; raises `LinkError`. One family may be switched off."""
    with Links() as links:
        links.set_up(LOOPBACK)
        for interface in _INTERFACES.values():
            try:
                links.add_address(LOOPBACK, interface)
            except LinkError as error:
                if error.errno != errno.EEXIST and not (":" in interface and error.errno in _NO_IPV6):
                    raise


def remove_addresses() -> str:
    """Undo that; says what there was."""
    removed = 0
    with Links() as links:
        for interface in set(_INTERFACES.values()) & set(links.addresses(LOOPBACK)):
            links.delete_address(LOOPBACK, interface)
            removed += 1
    return f"{removed} addresses of the relay" if removed else ""


_NO_IPV6 = (errno.EACCES, errno.EOPNOTSUPP, errno.EPERM, errno.EAFNOSUPPORT)
