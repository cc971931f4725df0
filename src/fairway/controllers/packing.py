"""Endpoints into slices, with as few writes as possible (reference, section 6.1, *Packing*).

    existing slices ── keep what is wanted, update it in place ──▶ changed | untouched | empty (goes)
    endpoints left over ─▶ the changed slices, fullest first
                        ─▶ one untouched slice that holds them all, the fullest such
                        ─▶ new slices

Nothing is ever moved from one slice to another: a move costs every node of the cluster two slices instead of none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from fairway.controllers.endpoints import identity
from fairway.objects.endpointslice import Endpoint, EndpointSlice


@dataclass
class Packed:
    """What becomes of the slices of one group; ``new`` are the endpoints of slices to create."""

    changed: list[EndpointSlice] = field(default_factory=list)
    untouched: list[EndpointSlice] = field(default_factory=list)
    emptied: list[EndpointSlice] = field(default_factory=list)
    new: list[tuple[Endpoint, ...]] = field(default_factory=list)


@dataclass
class _Draft:
    """A slice on its way."""

    slice: EndpointSlice
    endpoints: list[Endpoint]
    changed: bool

    def result(self) -> EndpointSlice:
        return msgspec.structs.replace(self.slice, endpoints=tuple(self.endpoints)) if self.changed else self.slice


def pack(
    wanted: Mapping[object, Endpoint], slices: Iterable[EndpointSlice], labels: Mapping[str, str], limit: int
) -> Packed:
    """Bring the slices of one group (one address type, one list of ports) to hold the wanted endpoints.

    ``labels`` are what the slices should carry; one whose labels differ counts as changed.
    """
    left = dict(wanted)
    packed = Packed()
    drafts: list[_Draft] = []
    for one in sorted(slices, key=lambda one: one.metadata.name):
        draft = _keep(one, left, labels)
        if draft.endpoints:
            drafts.append(draft)
        else:
            packed.emptied.append(one)
    _fill(drafts, left, limit)
    for draft in drafts:
        (packed.changed if draft.changed else packed.untouched).append(draft.result())
    rest = list(left.values())
    packed.new = [tuple(rest[at : at + limit]) for at in range(0, len(rest), limit)]
    return packed


def _keep(one: EndpointSlice, left: dict[object, Endpoint], labels: Mapping[str, str]) -> _Draft:
    """What stays of a slice; endpoints that found their place are taken out of ``left``."""
    kept: list[Endpoint] = []
    for endpoint in one.endpoints or ():
        wanted = left.pop(identity(endpoint), None)
        if wanted is not None:
            kept.append(_with_old_hints(wanted, endpoint))
    changed = tuple(kept) != (one.endpoints or ()) or (one.metadata.labels or {}) != labels
    if changed:
        metadata = msgspec.structs.replace(one.metadata, labels=dict(labels))
        one = msgspec.structs.replace(one, metadata=metadata)
    return _Draft(one, kept, changed)


def _with_old_hints(wanted: Endpoint, old: Endpoint) -> Endpoint:
    """Hints of an endpoint that gets no traffic anyway are not worth a write."""
    if wanted.conditions.ready or wanted.hints == old.hints:
        return wanted
    return msgspec.structs.replace(wanted, hints=old.hints)


def _fill(drafts: list[_Draft], left: dict[object, Endpoint], limit: int) -> None:
    """Put what is left where a write is due anyway, or into one slice that takes it all."""
    for draft in sorted((one for one in drafts if one.changed), key=lambda one: -len(one.endpoints)):
        _add(draft, left, limit)
    if 0 < len(left) < limit:
        roomy = [one for one in drafts if not one.changed and len(one.endpoints) + len(left) <= limit]
        if roomy:
            _add(max(roomy, key=lambda one: len(one.endpoints)), left, limit)


def _add(draft: _Draft, left: dict[object, Endpoint], limit: int) -> None:
    while left and len(draft.endpoints) < limit:
        draft.endpoints.append(left.pop(next(iter(left))))
        draft.changed = True
