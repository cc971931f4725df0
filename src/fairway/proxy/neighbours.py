"""Who the loop of `fairway.proxy.sync` works with: connection tracking, and a mode that takes over."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from fairway.kernel.contract import ApplyFailed, Kernel
from fairway.model.view import FrontendKey, NodeView
from fairway.modes.contract import Mode
from fairway.proxy.cache import Batch
from fairway.proxy.receipts import Round


class Successor(Protocol):
    """Another mode that takes over from this one (`fairway.proxy.switching`)."""

    relays: bool
    """`NodeSettings.relays` in that mode."""

    def take_over(self, view: NodeView) -> tuple[Mode[Any, Any, Any], Kernel[Any, Any], Any, int]:
        """Its rules are the kernel's from now on: mode, kernel, Program, commands. Raises `ApplyFailed`, and then all
        is as it was. Called in another thread."""

    def finished(self, error: ApplyFailed | None) -> None:
        """It is this mode now, or it was refused."""


class Flows(Protocol):
    """Connection tracking, which follows the rules."""

    @property
    def busy(self) -> bool:
        """Whether there are frontends that may not change now."""

    def acknowledged(self, done: Round, batch: Batch) -> None:
        """The kernel has new rules."""

    async def settled(self, changing: Collection[FrontendKey]) -> None:
        """Wait until these frontends may change again."""
