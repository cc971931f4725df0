"""The modes that the laws hold for, each with a machine in memory for its Programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import pytest

from fairway.kernel.contract import ApplyFailed
from fairway.kernel.fake import FakeNftables
from fairway.kernel.fake_iptables import FakeIptables
from fairway.kernel.nfnetlink import KernelRefused
from fairway.model.view import NodeSettings
from fairway.modes.contract import Mode
from fairway.modes.iptables import IptablesMode
from fairway.modes.nftables import NftablesMode, Plan, Program

AnyMode = Mode[Any, Any, Any]


class Memory(Protocol):
    """A machine, as far as the laws ask it."""

    def read_back(self) -> Any: ...

    def apply(self, plan: Any) -> None: ...


class NftablesMemory:
    """`FakeNftables` behind the kernel's contract."""

    def __init__(self) -> None:
        self.machine = FakeNftables()

    def read_back(self) -> Program:
        return replace(NftablesMode().empty(), base=self.machine.read())

    def apply(self, plan: Plan) -> None:
        try:
            self.machine.apply(plan)
        except KernelRefused as refused:
            raise ApplyFailed(str(refused)) from refused


@dataclass(frozen=True)
class Subject:
    """A mode, and what makes an empty machine for it."""

    mode: AnyMode
    memory: Callable[[], NftablesMemory | FakeIptables]

    def read(self, machine: Memory, settings: NodeSettings) -> Any:
        """What the machine holds, on a node with these settings."""
        return replace(machine.read_back(), settings=settings)


SUBJECTS = {
    "nftables": Subject(NftablesMode(), NftablesMemory),
    "iptables": Subject(IptablesMode(), partial(FakeIptables, most=5)),
}
every_mode = pytest.mark.parametrize("subject", [pytest.param(one, id=name) for name, one in SUBJECTS.items()])
