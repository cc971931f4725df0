"""From one userspace Program to another: listeners that come, change and go, around the carrier's own Plan.

listen ──▶ the carrier's rules ──▶ close          nobody is ever led to a listener that is not there
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairway.model.view import FrontendKey
from fairway.modes.contract import Mode, Plan
from fairway.modes.userspace.program import Fragment, ListenerKey, Listening, Program

Changes = Mapping[FrontendKey, Fragment | None]
Carrier = Mode[Any, Any, Any]


class UserspacePlan(msgspec.Struct, frozen=True):
    """``listen`` are listeners that are new or do something else now; ``close``, those that nobody is led to."""

    carried: Plan
    listen: tuple[Listening, ...] = ()
    close: tuple[ListenerKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listen or self.close or self.carried)

    def __len__(self) -> int:
        return len(self.listen) + len(self.close) + len(self.carried)

    def render(self) -> str:
        lines = [f"listen {one.protocol.lower()} {one.address} {one.port} for {one.key}" for one in self.listen]
        carried = self.carried.render().rstrip("\n")
        return "\n".join([*lines, *([carried] if carried else []), *(f"close {key}" for key in self.close)])


def plan(carrier: Carrier, old: Program, new: Program) -> UserspacePlan:
    """From any Program to any other."""
    return UserspacePlan(
        carrier.plan(old.carried, new.carried),
        listen=tuple(one for key, one in new.listeners.items() if old.listeners.get(key) != one),
        close=tuple(key for key in old.listeners if key not in new.listeners),
    )


def plan_changes(carrier: Carrier, program: Program, changes: Changes) -> UserspacePlan:
    """With some Fragments replaced, or gone."""
    listen: list[Listening] = []
    close: list[ListenerKey] = []
    for key, new in _relayed(program, changes).items():
        wanted = {one.key: one for one in new}
        listen += [one for one in new if program.listeners.get(one.key) != one]
        close += [one.key for one in program.of(key) if one.key not in wanted]
    carried = carrier.plan_changes(program.carried, _carried(changes))
    return UserspacePlan(carried, tuple(listen), tuple(close))


def accept(carrier: Carrier, program: Program, changes: Changes) -> None:
    """Record that the changes have been applied."""
    for key, new in _relayed(program, changes).items():
        for one in list(program.of(key)):
            del program.listeners[one.key]
        program.listeners.update((one.key, one) for one in new)
    carrier.accept(program.carried, _carried(changes))


def _carried(changes: Changes) -> dict[FrontendKey, Any]:
    return {key: fragment.carried if fragment else None for key, fragment in changes.items()}


def _relayed(program: Program, changes: Changes) -> dict[FrontendKey, tuple[Listening, ...]]:
    """The listeners of those that may have had some, or have them now."""
    found = {key: fragment.listeners if fragment else () for key, fragment in changes.items()}
    return found if program.listeners or any(found.values()) else {}
