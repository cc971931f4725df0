"""A mode's kernel with a relay beside it: `fairway.kernel.contract.ModeKernel` for the userspace mode's Programs."""

from __future__ import annotations

import errno
import select
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from fairway.kernel.contract import ApplyFailed, Chains, Drain, ModeKernel, Opened
from fairway.kernel.links import LinkError, Links
from fairway.modes.userspace import ListenerKey, Listening, Program, UserspaceMode, UserspacePlan
from fairway.modes.userspace.program import ADDRESSES
from fairway.relay.process import stop_all

LOOPBACK = "lo"
_INTERFACES = {family: f"{address}/{128 if ':' in address else 32}" for family, address in ADDRESSES.items()}


class Relays(Protocol):
    """A relay, in this process or another. Every method may be called in any thread, and raises OSError."""

    def reserve(self, key: ListenerKey) -> int:
        """The port of a listener, which nobody else gets from now on."""

    def put(self, wanted: Iterable[Listening]) -> None:
        """Listeners that are new, or do something else from now on."""

    def close(self, keys: Iterable[ListenerKey]) -> None:
        """Nobody comes to these any more."""

    def held(self) -> Mapping[ListenerKey, Listening]:
        """What the listeners do now."""

    def fileno(self) -> int:
        """Readable when they may have been lost: then ask `others`."""

    def others(self) -> list[str]:
        """Who has taken them away, since the last call."""

    def release(self) -> None:
        """The end of whoever has used it."""


class RelayingKernel:
    """The carrier's kernel, and a relay in the namespace of the thread that makes this."""

    def __init__(self, carrier: ModeKernel[Any, Any], relay: Relays) -> None:
        self._carrier = carrier
        self.relay = relay
        self._notices = select.epoll()
        for one in (carrier, relay):
            self._notices.register(one.fileno(), select.EPOLLIN)
        self._loading = False
        self._close_later: tuple[ListenerKey, ...] = ()

    @property
    def at_once(self) -> int:
        return self._carrier.at_once

    def port(self, key: ListenerKey) -> int:
        """Where a listener is, made on the spot if need be; raises `ApplyFailed`."""
        try:
            return self.relay.reserve(key)
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def read_back(self) -> Program:
        carried = self._carrier.read_back()
        try:
            return Program(carried, dict(self.relay.held()))
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def apply(self, plan: UserspacePlan) -> None:
        """Clients are led to a listener when it is bound, and it takes them up as soon as the rules are there."""
        if plan.carried:
            self._carrier.apply(plan.carried)
        if not (plan.listen or plan.close):
            return
        try:
            self.relay.put(plan.listen)
            if self._loading:
                self._close_later += plan.close
            else:
                self.relay.close(plan.close)
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def check(self, plan: UserspacePlan) -> None:
        self._carrier.check(plan.carried)

    def fileno(self) -> int:
        return self._notices.fileno()

    def others(self) -> list[str]:
        return [*self._carrier.others(), *self.relay.others()]

    def clean(self) -> str:
        """Relays of other proxies too: nobody is led to them any more."""
        found = [self._carrier.clean(), stop_relays(), remove_addresses()]
        return ", ".join(one for one in found if one)

    def load(self, plan: UserspacePlan) -> None:
        """Listeners that nobody of this mode is led to stay until `settle`: the other mode's rules lead there."""
        self._loading, self._close_later = True, plan.close
        if plan.carried:
            self._carrier.load(plan.carried)
        try:
            self.relay.put(plan.listen)
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def chains(self, program: Program) -> Chains:
        return self._carrier.chains(program.carried)

    def stand_aside(self, needed: Chains) -> None:
        self._carrier.stand_aside(needed)

    def retire(self, needed: Chains) -> Drain | None:
        """The relay belongs to the mode that follows as well: its connections go on."""
        self._loading, self._close_later = False, ()
        return self._carrier.retire(needed)

    def settle(self) -> None:
        self._carrier.settle()
        self._loading, gone, self._close_later = False, self._close_later, ()
        try:
            self.relay.close(dict.fromkeys(gone))
        except OSError as error:
            raise ApplyFailed(str(error)) from error

    def close(self) -> None:
        """Nobody hears of what others change any more."""
        self._notices.close()


def with_relay(carrier: Opened, name: str, relay: Relays) -> tuple[Opened, RelayingKernel]:
    """The mode of ``carrier`` with a relay for the Services that ask for one. Several modes may have the same relay;
    the kernel is to be closed by whoever asked for it."""
    kernel = RelayingKernel(carrier.kernel, relay)
    return replace(carrier, mode=UserspaceMode(carrier.mode, name, kernel.port), kernel=kernel), kernel


@contextmanager
def relaying(carrier: Opened, name: str, relay: Relays) -> Iterator[Opened]:
    """The same with a relay of its own, which is released when the block ends."""
    opened, kernel = with_relay(carrier, name, relay)
    try:
        yield opened
    finally:
        kernel.close()
        relay.release()


def stop_relays() -> str:
    """End the relays that proxies have left behind here; says what there was."""
    stopped = stop_all()
    return f"{stopped} relay{'s' if stopped > 1 else ''}" if stopped else ""


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
