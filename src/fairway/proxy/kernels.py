"""The kernel side of each mode, by the mode's name: what everybody who programs a kernel opens it through.

Everything belongs to the network namespace of the thread that opens it and calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fairway.kernel.features import nftables_features
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.nftables import Nftables
from fairway.modes.nftables import NftablesMode, Plan, Program
from fairway.proxy.sync import ApplyFailed, Kernel

T = TypeVar("T")

MODE = NftablesMode()


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
            self._generation = or_fail(self.nftables.generation).number
            return replace(MODE.empty(), base=or_fail(self.nftables.read))

    def apply(self, plan: Plan) -> None:
        with self._at_work():
            or_fail(lambda: self.nftables.apply(plan))
            now = or_fail(self.nftables.generation).number
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
            or_fail(lambda: self.nftables.check(plan))

    def undisturbed(self) -> bool:
        """Whether nobody but us has committed anything since the last `read_back`."""
        return or_fail(self.nftables.generation).number == self._generation


@contextmanager
def open_nftables() -> Iterator[NftablesKernel]:
    """nf_tables of this thread's network namespace. Raises `Unsuitable`."""
    if lacks := [feature.because for feature in nftables_features() if not feature.works]:
        raise Unsuitable("\n".join(["this machine cannot do the nftables mode:", *lacks]))
    with Nftables() as nftables:
        yield NftablesKernel(nftables)


KERNELS: Mapping[str, Callable[[], AbstractContextManager[Kernel[Any, Any]]]] = {"nftables": open_nftables}
"""How the kernel is opened for each mode of `fairway.modes.registry.MODES`."""


def or_fail(work: Callable[[], T]) -> T:
    """What ``work`` returns; raises `ApplyFailed` when the kernel does not do it."""
    try:
        return work()
    except (KernelRefused, Interrupted, OSError) as error:
        raise ApplyFailed(str(error)) from error
