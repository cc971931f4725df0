"""A Plan that is commands in order: what the modes' Plans have in common, whatever their commands are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

CommandT = TypeVar("CommandT")


@dataclass(frozen=True, slots=True)
class Commands(Generic[CommandT]):
    """`fairway.modes.contract.Plan`. A command's ``str()`` is its line in the words of the mode's own tool."""

    commands: tuple[CommandT, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands)

    def __len__(self) -> int:
        return len(self.commands)

    def render(self) -> str:
        return "".join(f"{command}\n" for command in self.commands)
