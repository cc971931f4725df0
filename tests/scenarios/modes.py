"""What every mode makes of a scenario, as text to compare."""

from __future__ import annotations

from typing import Any

from fairway.model.view import NodeView
from fairway.modes.contract import Mode

AnyMode = Mode[Any, Any, Any]


def sections(text: str) -> list[str]:
    """A printed program in the parts that blank lines part: a chain, a set, a map with its elements."""
    lines = (line for line in text.splitlines() if line != "}")  # the end of a table is nobody's part
    return [part.strip("\n") for part in "\n".join(lines).split("\n\n") if part.strip()]


def what_services_add(mode: AnyMode, view: NodeView) -> str:
    """The sections of the node's program that the same node without Services would not have, as one text."""
    empty = NodeView(settings=view.settings, frontends={})
    constant = set(sections(mode.render(mode.program(empty))))
    added = [part for part in sections(mode.render(mode.program(view))) if part not in constant]
    return "\n\n".join(added) + "\n"
