"""What a request changed, noted on the way: the objects, and the addresses and ports they had before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from fairway.apiserver.kinds import Kind
from fairway.objects.codec import Document


@dataclass(frozen=True)
class Change:
    """One object written or deleted. ``before`` and ``after`` are its allocated values, empty where it had none."""

    kind: Kind
    namespace: str
    name: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False


_noted: ContextVar[list[Change] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[list[Change]]:
    """Note the changes of this task until the block ends."""
    changes: list[Change] = []
    token = _noted.set(changes)
    try:
        yield changes
    finally:
        _noted.reset(token)


def note(kind: Kind, old: Document | None, new: Document | None, *, dry_run: bool) -> None:
    """A change of an object, None before its creation and after its deletion; costs nothing when nobody listens."""
    changes = _noted.get()
    if changes is None:
        return
    metadata = (new or old or {})["metadata"]
    before, after = (_allocated(one) if kind.allocator and one else {} for one in (old, new))
    changes.append(Change(kind, metadata.get("namespace", ""), metadata["name"], before, after, dry_run))


def _allocated(document: Document) -> dict[str, Any]:
    """The cluster IPs and ports that a Service holds."""
    spec = document.get("spec") or {}
    ports = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    found = {
        "clusterIPs": spec.get("clusterIPs"),
        "nodePorts": ports,
        "healthCheckNodePort": spec.get("healthCheckNodePort"),
    }
    return {name: value for name, value in found.items() if value}
