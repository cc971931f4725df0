"""What the kernel side of a mode must be able to do; proxy, lab and bench know a machine only by this.

    open_...() ──▶ Opened ── mode ──── pure: compile, plan, evaluate, set up for what this machine can do
                          └─ kernel ── read_back, check, apply ── what others changed ── clean
                                    └─ load, chains, retire, settle: from one mode to another (`fairway.proxy.handover`)

One exists for each mode (`fairway.kernel.nftables_mode` and its neighbours); which one a name means is said by
`fairway.proxy.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from fairway.model.view import FrontendKey
from fairway.modes.contract import Mode
from fairway.modes.xtables import Family, State

Chains = Mapping[tuple[str, Family], State]
"""Rules of iptables, by variant and family. Two modes may have chains of one name in one place."""

HeldT = TypeVar("HeldT", covariant=True)
WorkT = TypeVar("WorkT", contravariant=True)


class Unsuitable(Exception):
    """This machine, or this user, cannot do it; the message says what helps."""


class ApplyFailed(Exception):
    """The kernel did not do it; the message names the command that failed and why.

    Nothing of the Plan has happened, or so much of it that only `Kernel.read_back` tells.
    """


class Kernel(Protocol[HeldT, WorkT]):
    """The machine, for one mode. Every method raises `ApplyFailed`, and may be called in another thread."""

    @property
    def at_once(self) -> int:
        """How many commands of a Plan take so little time that an event loop may wait for them; 0 where each takes as
        long as a process does."""

    def read_back(self) -> HeldT:
        """What the kernel holds of ours now."""

    def apply(self, plan: WorkT) -> None:
        """Do all of it, acknowledged by the kernel, or nothing."""

    def check(self, plan: WorkT) -> None:
        """Whether the kernel would do it; nothing is changed."""


class Drain(Protocol):
    """What is left of a mode that another one has followed: nobody new comes to it. Methods raise `ApplyFailed`."""

    def left(self) -> int:
        """Connections that would break if it went now."""

    def finish(self) -> None:
        """Remove it, whatever is left."""


class ModeKernel(Kernel[HeldT, WorkT], Protocol[HeldT, WorkT]):
    """A machine that also tells who else changes what is ours, and can be left as if we had never been here.

    One mode follows another in this order: ``load`` of the new one, ``stand_aside`` of the old one, ``apply`` of what
    is left to do, which takes the clients over where loading has not, ``retire`` of the old one, ``settle`` of the new.
    """

    def fileno(self) -> int:
        """Readable when somebody may have changed something: then ask `others`."""

    def others(self) -> list[str]:
        """Who did, since the last call: ``nft (pid 123)``; empty when it was nobody, or not about what is ours."""

    def clean(self) -> str:
        """Remove everything of ours, nothing of anybody else; what it was, such as ``2 nftables tables``, or empty."""

    def load(self, plan: WorkT) -> None:
        """As much of it as leaves the rules in order that another mode has here; the next Plan has the rest."""

    def chains(self, program: Any) -> Chains:
        """The chains of iptables that this Program needs."""

    def stand_aside(self, needed: Chains) -> None:
        """Refuse nothing any more for not being translated by this mode: another one may deliver it as it is."""

    def retire(self, needed: Chains) -> Drain | None:
        """Remove what leads new clients here, but for chains that the mode which follows needs; None when that is all.

        What connections need that have begun stays in the `Drain`. It may be called again after a crash.
        """

    def settle(self) -> None:
        """Nobody else is here any more: away with what only helped both to be here."""


class Figure(NamedTuple):
    """One sample of what the kernel counts by itself: a metric's name and help, labels, value.

    It is of a Service when the labels have the address, protocol and port of one.
    """

    name: str
    help: str
    labels: Mapping[str, str]
    value: float
    kind: Literal["", "gauge", "counter"] = ""
    """When the name does not tell: some gauges of the reference end as counters do."""


class Ownership(NamedTuple):
    """Whether the kernel lets nobody else change what is ours; ``why`` not, if not."""

    owned: bool
    why: str


class Live(NamedTuple):
    """Connections that a balancer in the kernel has at this moment, and backends that wait for theirs to end."""

    active: int
    inactive: int
    draining: int


@dataclass(frozen=True)
class Opened:
    """A mode on this machine, as long as the ``with`` block of whoever opened it lasts.

    ``figures`` are asked for by every scrape; by their names (``…_total``) some of them are counters.
    """

    mode: Mode[Any, Any, Any]
    kernel: ModeKernel[Any, Any]
    connections: Callable[[], Mapping[FrontendKey, int]] | None = None
    """How many connections each frontend has had since its rules were made, if `NodeSettings.count_connections` asks
    for it and the mode can; a node port may be counted on each of the node's addresses. Called in another thread than
    everything else; raises `ApplyFailed`."""
    figures: Callable[[], Iterable[Figure]] = tuple
    ownership: Callable[[], Ownership] | None = None
    """For modes whose state a kernel can keep others from changing. Raises `ApplyFailed`."""
    variant: str = ""
    """Which iptables the iptables mode has found in use: nft or legacy."""
    live: Callable[[], Live] | None = None
    """Where the kernel itself knows connections; raises `ApplyFailed`."""
