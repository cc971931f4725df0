"""Who is told of the rounds of `fairway.proxy.sync`, and of what.

The next event waits while they are told. So each is told of what it asks for, and of nothing else; and what may be done
later is done later: metrics are added up when somebody scrapes, wrong objects are looked for when there is time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fairway.kernel.contract import ApplyFailed
from fairway.model.problems import Problem
from fairway.proxy.cache import Batch
from fairway.proxy.receipts import Receipt, Round, RoundKind


class Listener:
    """Who wants to know. A method that is left as it is is never called, and costs nothing."""

    def pending(self) -> None:
        """A change waits for the kernel, and none did before."""

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> Iterator[None] | None:
        """A round was acknowledged. Who has as much to do as there are frontends returns the steps of it: of a first
        load the next change waits for a few of them, not for all."""

    def returned(self, done: Round) -> None:
        """It was, and another thread has been at the kernel: for the whole, or for a change that takes its time."""

    def noticed(self, reason: str, problem: Problem) -> None:
        """Something is wrong that was not before. It is told some time after the round."""

    def failed(self, kind: RoundKind, error: ApplyFailed) -> None:
        """A round was refused and will be tried again."""


class Audience:
    """Those of their methods that do something."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self.pending: list[Callable[[], None]] = []
        self.finished: list[Callable[[Round, Sequence[Receipt], Batch], Iterator[None] | None]] = []
        self.returned: list[Callable[[Round], None]] = []
        self.noticed: list[Callable[[str, Problem], None]] = []
        self.failed: list[Callable[[RoundKind, ApplyFailed], None]] = []
        for one in listeners:
            self.add(one)

    def add(self, listener: Listener) -> None:
        """One more."""
        for name, methods in vars(self).items():
            if getattr(type(listener), name) is not getattr(Listener, name):
                methods.append(getattr(listener, name))
